"""`scae train`: run a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from cli.commands import UserErrorCommand
from cli.rank_options import rank_options, said_once, start_ranks
from cli.screen import screen
from cli.verbosity import is_quiet
from cli.word_types import DATA, NETWORK, RECIPE

if TYPE_CHECKING:
    from pipeline.training.recipe import Recipe
    from pipeline.training.recipe_places import RecipePlaces


@click.command("train", cls=UserErrorCommand)
@click.option("--recipe", type=RECIPE, metavar="FILE", help="TOML file; without it the defaults.")
@click.option(
    "--from-run", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR",
    help="Repeat the run of that folder, in another one: its recipe, with --set and --seed.",
)  # fmt: skip
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--debug", is_flag=True, help="The recipe's debug form: seconds, on shapes.")
@click.option("--data", type=DATA, metavar="NAME_OR_PATH", help="The same as --set data.name=...")
@click.option("--imbalance", type=click.FloatRange(min=1), help="As --set data.imbalance=...")
@click.option("--network", type=NETWORK, metavar="NAME", help="The same as --set network.name=...")
@click.option("--epochs", type=click.IntRange(min=1), help="The same as --set train.epochs=...")
@click.option("--seed", type=click.IntRange(min=0), help="The same as --set seed=...")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="As train.device.")
@click.option("--run", type=click.Path(path_type=Path), required=True, help="Run folder.")
@click.option(
    "--cache", metavar="URL", help="Cache of maps. [default: maps.zarr in the run folder]"
)
@click.option("--accept-stale", is_flag=True, help="Use maps of images that have changed since.")
@click.option(
    "--resume", is_flag=False, flag_value="auto", type=click.Choice(["auto", "must"]),
    help="Go on from the newest checkpoint; where there is none, auto begins and must fails. "
    "[without a value: auto]",
)  # fmt: skip
@click.option(
    "--checkpoint-minutes",
    type=click.FloatRange(min=0),
    default=15.0,
    show_default=True,
    help="Also write a checkpoint in the middle of an epoch this often; 0: only when stopped.",
)
@rank_options
@click.option("--tensorboard", is_flag=True, help="Write for TensorBoard into the run folder too.")
def train_command(
    *,
    recipe: Path | None,
    from_run: Path | None,
    overrides: tuple[str, ...],
    debug: bool,
    run: Path,
    cache: str | None,
    resume: Literal["auto", "must"] | None,
    accept_stale: bool,
    tensorboard: bool,
    checkpoint_minutes: float,
    **short: Any,  # noqa: ANN401  # click hands over what is declared
) -> None:
    """Train a network whose images are erased where its own maps say the object is.

    Every few epochs the maps of all training images are made anew from the last checkpoint:
    refresh.executor = "inline" in this process, "dask" on a cluster while training goes on,
    "external" by scae watch. refresh.adopt = "as-soon-as" makes a run that can't be repeated. The
    run folder gets the resolved recipe, metrics.csv, log.jsonl, checkpoints, maps and report.html.
    Exit codes: 0 done, 1 failed, 2 wrong usage, 75 stopped and can be resumed.

    With --ranks several processes train one network; train.batch_size counts the images of all of
    them. `torchrun --no-python -- scae train ...` does the same, but ends with 1 when stopped.

    \b
    Examples:
      scae train --recipe recipes/shapes.toml --run runs/shapes
      scae train --recipe recipes/table1_scae.toml --debug --run runs/debug
      scae train --data ~/cifar10 --imbalance 100 --network resnet32 --epochs 3 --run runs/lt
      scae train --recipe recipes/shapes.toml --run runs/shapes --resume
      scae train --from-run runs/shapes --run runs/shapes-1 --seed 1
      scae train --recipe recipes/shapes.toml --run runs/shapes --ranks 2
      scae train --recipe my.toml --run runs/my --ranks 4 --nodes 2 --rendezvous node1:29500
    """  # noqa: D301  # click wants the character, not two
    file = recipe if from_run is None else _recipe_of(from_run, recipe)
    words = [f"{key}={short[name]}" for name, key in SHORT_WORDS.items() if short[name] is not None]

    def load() -> "tuple[Recipe, RecipePlaces]":
        from pipeline.training.recipe_file import load_with_places

        return load_with_places(file, [*words, *overrides], debug=debug)

    start_ranks(short, check=load)
    from pipeline.refresh.stopping import stop_on_signals
    from pipeline.training.trainer import TrainOptions, train

    loaded, places = load()
    with said_once(), places.pointed_out(), stop_on_signals() as stop, screen() as shown:
        options = TrainOptions(
            run=run,
            cache=cache,
            resume=resume is not None,
            must_resume=resume == "must",
            repeats=from_run,
            accept_stale=accept_stale,
            tensorboard=tensorboard,
            checkpoint_seconds=60 * checkpoint_minutes,
            log=click.echo if is_quiet() else shown.log,
            quiet=is_quiet(),
            progress=shown.bars,
            stop=stop,
        )
        train(loaded, options)


def _recipe_of(from_run: Path, recipe: Path | None) -> Path:
    """Return the resolved recipe of a run folder."""
    if recipe is not None:
        raise click.UsageError("--from-run takes the recipe of that run: leave out --recipe")
    path = from_run / "recipe.toml"
    if not path.is_file():
        raise click.BadParameter(f"{from_run} has no recipe.toml", param_hint="--from-run")
    return path


SHORT_WORDS = {
    "data": "data.name",
    "imbalance": "data.imbalance",
    "network": "network.name",
    "epochs": "train.epochs",
    "seed": "seed",
    "device": "train.device",
}
"""Option -> recipe key that it sets."""
