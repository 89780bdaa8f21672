"""`scae train`: run a recipe."""

from pathlib import Path
from typing import Any

import click

from cli.commands import UserErrorCommand, progress_bars


@click.command("train", cls=UserErrorCommand)
@click.option(
    "--recipe", type=click.Path(path_type=Path), help="TOML file; without it the defaults."
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--debug", is_flag=True, help="The recipe's debug form: seconds, on shapes.")
@click.option("--data", metavar="NAME_OR_PATH", help="The same as --set data.name=...")
@click.option("--imbalance", type=click.FloatRange(min=1), help="As --set data.imbalance=...")
@click.option("--network", metavar="NAME", help="The same as --set network.name=...")
@click.option("--epochs", type=click.IntRange(min=1), help="The same as --set train.epochs=...")
@click.option("--seed", type=click.IntRange(min=0), help="The same as --set seed=...")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="As train.device.")
@click.option("--run", type=click.Path(path_type=Path), required=True, help="Run folder.")
@click.option(
    "--cache", metavar="URL", help="Cache of maps. [default: maps.zarr in the run folder]"
)
@click.option("--accept-stale", is_flag=True, help="Use maps of images that have changed since.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint, if there is one.")
def train_command(
    *,
    recipe: Path | None,
    overrides: tuple[str, ...],
    debug: bool,
    run: Path,
    cache: str | None,
    resume: bool,
    accept_stale: bool,
    **short: Any,  # noqa: ANN401  # click hands over what is declared
) -> None:
    """Train a network whose images are erased where its own maps say the object is.

    Every few epochs the maps of all training images are made anew from the last checkpoint. The
    run folder gets the resolved recipe, metrics.csv, checkpoints, maps and report.html. Exit codes:
    0 done, 1 failed, 2 wrong usage, 75 stopped and can be resumed.

    \b
    Examples:
      scae train --recipe recipes/shapes.toml --run runs/shapes
      scae train --recipe recipes/table1_scae.toml --debug --run runs/debug
      scae train --data ~/cifar10 --imbalance 100 --network resnet32 --epochs 3 --run runs/lt
      scae train --recipe recipes/shapes.toml --run runs/shapes --resume
    """  # noqa: D301  # click wants the character, not two
    from pipeline.refresh.stopping import stop_on_signals
    from pipeline.training.recipe_file import load_recipe
    from pipeline.training.trainer import TrainOptions, train

    words = [f"{key}={short[name]}" for name, key in SHORT_WORDS.items() if short[name] is not None]
    loaded = load_recipe(recipe, [*words, *overrides], debug=debug)
    with stop_on_signals() as stop, progress_bars() as bars:
        options = TrainOptions(
            run=run,
            cache=cache,
            resume=resume,
            accept_stale=accept_stale,
            log=click.echo,
            progress=bars,
            stop=stop,
        )
        train(loaded, options)


SHORT_WORDS = {
    "data": "data.name",
    "imbalance": "data.imbalance",
    "network": "network.name",
    "epochs": "train.epochs",
    "seed": "seed",
    "device": "train.device",
}
"""Option -> recipe key that it sets."""
