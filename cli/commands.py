"""What all commands share, and options that mean the same in several."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.error_boundary import errors_in_one_line
from cli.verbosity import shown_logs, verbosity_options
from cli.word_types import DATA

if TYPE_CHECKING:
    from pipeline.refresh.sources import DataSource

Function = TypeVar("Function", bound=Callable[..., Any])


class UserErrorCommand(click.Command):
    """What every command is: errors end in one line, and --quiet and --verbose are options."""

    def __init__(self, *args: Any, **keywords: Any) -> None:  # noqa: ANN401  # click's own signature
        super().__init__(*args, **keywords)
        self.params += verbosity_options()

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  # click's own signature
        """Run the command."""
        with errors_in_one_line(ctx), shown_logs():
            return super().invoke(ctx)


def data_options(function: Function, *, required: bool = True) -> Function:
    """Add the options that choose a data set; `required`: whether --data has to be given."""
    options = [
        click.option(
            "--data",
            type=DATA,
            required=required,
            metavar="NAME_OR_PATH",
            help="shapes, cifar10, cifar100, imagenet, or a folder of class folders.",
        ),
        click.option(
            "--split",
            type=click.Choice(["train", "test"]),
            default="train",
            show_default=True,
            help="Which part of the data.",
        ),
        click.option(
            "--imbalance",
            type=click.FloatRange(min=1),
            help="Make the train split long-tailed: largest class over smallest. "
            "[default: 100 for shapes, else off]",
        ),
        click.option(
            "--subset-seed", type=click.IntRange(min=0), default=0, help="Seed of that choice."
        ),
        click.option("--classes", type=click.IntRange(min=2), help="Number of classes, if known."),
        click.option("--root", type=click.Path(), help="Folder of a named data set."),
        click.option("--download", is_flag=True, help="Fetch CIFAR if it is not there."),
        click.option("--deep", is_flag=True, help="Know files by their bytes, not their sizes."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def data_source(options: dict[str, Any]) -> "DataSource":
    """Return what `data_options` chose."""
    from pipeline.refresh.sources import DataSource

    return DataSource(
        name=options["data"],
        split=options["split"],
        imbalance=options["imbalance"],
        subset_seed=options["subset_seed"],
        num_classes=options["classes"],
        root=options["root"],
        download=options["download"],
        deep=options["deep"],
    )


def key_values(pairs: tuple[str, ...], option: str) -> dict[str, str]:
    """Split `key=value` words.

    Raises:
        click.BadParameter: If a word has no '='.
    """
    values = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"must be KEY=VALUE, got {pair!r}", param_hint=option)
        values[key] = value
    return values
