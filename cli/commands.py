"""What all commands share: how errors end a command, and options that mean the same everywhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cache_store.errors import ScaeError

if TYPE_CHECKING:
    from pipeline.refresh.sources import DataSource

EXIT_FAILED = 1
"""The command failed for a reason that its message names."""
EXIT_RESUMABLE = 75
"""The command was stopped and can be resumed by running it again (EX_TEMPFAIL)."""

LINE_SECONDS = 30.0
"""Time between two lines of progress where there is no terminal."""

Function = TypeVar("Function", bound=Callable[..., Any])


class UserErrorCommand(click.Command):
    """A command whose expected errors end in one line and an exit code, never in a traceback."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  # click's own signature
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ScaeError as error:
            click.echo(f"Error: {' '.join(str(error).split())}", err=True)
            ctx.exit(EXIT_RESUMABLE if type(error).__name__ == "Stopped" else EXIT_FAILED)


def data_options(function: Function, *, required: bool = True) -> Function:
    """Add the options that choose a data set; `required`: whether --data has to be given."""
    options = [
        click.option(
            "--data",
            required=required,
            metavar="NAME_OR_PATH",
            help="shapes, cifar10, cifar100, imagenet, or a folder of class folders.",
        ),
        click.option("--split", type=click.Choice(["train", "test"]), default="train"),
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


@contextmanager
def progress_bars() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Give a function that starts a bar: from a label to a function of (done, total).

    On a terminal there is one bar, always the last one started; elsewhere, for logs, a line every
    half minute.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _line_progress
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=console, transient=True) as bars:

        def start(label: str) -> Callable[[int, int], None]:
            for task in bars.task_ids:
                bars.remove_task(task)
            task = bars.add_task(label, total=None)
            return lambda done, total: bars.update(task, completed=done, total=total)

        yield start


def _line_progress(label: str) -> Callable[[int, int], None]:
    shown = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= LINE_SECONDS:
            shown = time.monotonic()
            click.echo(f"{label}: {done} of {total}", err=True)

    return show
