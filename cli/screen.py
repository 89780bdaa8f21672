"""How a long command talks: lines on standard output, and below them a bar while it works.

Where there is no terminal, or one that can only print (TERM=dumb), the bar is a line every half
minute. NO_COLOR takes the colours away.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from cli.verbosity import is_quiet

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_SECONDS = 30.0
"""Time between two lines of progress where there is no terminal."""

Bar = Callable[[int, int], None]
"""Called with what is done and what there is in all."""


@dataclass(frozen=True, slots=True)
class Screen:
    """Where a command's words go."""

    log: Callable[[str], None]
    """Shows a line."""
    bars: Callable[[str], Bar]
    """Given a label, starts a bar; there is one at a time, always the last one started."""


@contextmanager
def screen() -> Iterator[Screen]:
    """Give the screen for as long as a command works; with --quiet nothing is shown on it."""
    if is_quiet():
        yield Screen(lambda _line: None, lambda _label: lambda _done, _total: None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield Screen(click.echo, _line_progress)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bars:
        yield Screen(_styled(bars) if sys.stdout.isatty() else click.echo, _starting(bars))


def _styled(bars: "Progress") -> Callable[[str], None]:
    """Return what prints a line above the bar: printed past it, it would end up behind it."""
    from pipeline.training.run_log import WARNING

    def show(line: str) -> None:
        style = "bold yellow" if line.startswith(WARNING) else None
        bars.console.print(line, style=style, markup=False, emoji=False, soft_wrap=True)

    return show


def _starting(bars: "Progress") -> Callable[[str], Bar]:
    def start(label: str) -> Bar:
        for task in bars.task_ids:
            bars.remove_task(task)
        task = bars.add_task(label, total=None)
        return lambda done, total: bars.update(task, completed=done, total=total)

    return start


def _line_progress(label: str) -> Bar:
    shown = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= LINE_SECONDS:
            shown = time.monotonic()
            click.echo(f"{label}: {done} of {total}", err=True)

    return show
