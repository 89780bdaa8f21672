"""The `scae` command group."""

import click
from click.shell_completion import add_completion_class

from cli.bash_words import BashWords
from cli.lazy_group import LazyGroup
from cli.version import show_version

COMMANDS = {
    "refresh": ("cli.refresh", "refresh_command", "Make the saliency maps of a data set."),
    "train": ("cli.train", "train_command", "Train a network that erases by its own maps."),
    "evaluate": ("cli.evaluate", "evaluate_command", "Measure a run's network on test images."),
    "sweep": ("cli.sweep", "sweep_command", "Run recipes with several seeds, one after another."),
    "report": ("cli.report", "report_command", "Compare runs, the paper and published figures."),
    "watch": ("cli.watch", "watch_command", "Follow a run and keep its maps fresh."),
    "preview": ("cli.preview", "preview_command", "Draw images, maps and sampled rectangles."),
    "doctor": ("cli.doctor", "doctor_command", "Check machine, cache and cluster; say the cure."),
    "bench": ("cli.bench", "bench_group", "Time the product beside rivals and limits."),
    "cache": ("cli.cache", "cache_group", "Look into a cache, check it, repair it, tidy up."),
    "completion": ("cli.completion", "completion_command", "Let bash, zsh or fish complete words."),
}
"""Command -> its module, its function, and its line in the list of commands."""

add_completion_class(BashWords)


@click.group(
    "scae",
    cls=LazyGroup,
    lazy_commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=show_version,
    help="Show the versions of scae, torch and Python, and exit.",
)  # fmt: skip
def main() -> None:
    """Saliency caches that feed training.

    A refresh keeps Grad-CAM maps of a whole data set in a Zarr cache; the training loader places
    erasing rectangles by them (SCAE). Each command's own --help has examples.

    \b
    Examples:
      scae train --recipe recipes/shapes.toml --run runs/shapes
      scae refresh --data shapes --cache maps.zarr --network resnet8 --weights random
      scae preview --data shapes --cache maps.zarr --out maps.png
    """  # noqa: D301  # click wants the character, not two
