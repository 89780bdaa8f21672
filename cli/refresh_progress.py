"""Showing how far a refresh is: a bar on a terminal, lines elsewhere, JSON lines for programs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import click

from cache_store.wording import counted
from cli.screen import LINE_SECONDS
from cli.verbosity import is_quiet
from pipeline.refresh.event_line import event_line

if TYPE_CHECKING:
    from pipeline.refresh.progress import RefreshProgress

EVENT_SECONDS = 5.0
"""Least time between two progress events of a JSON log."""

Show = Callable[["RefreshProgress"], None]


class EventLog:
    """Writes events as JSON lines, each with the time in UTC.

    Args:
        file: Where to; None writes nothing.
    """

    def __init__(self, file: IO[str] | None) -> None:
        self._file = file
        self._told: float | None = None
        self._settled = False

    def write(self, event: str, **fields: Any) -> None:  # noqa: ANN401  # JSON values
        """Write one event."""
        if self._file is None:
            return
        self._file.write(event_line(event, fields))
        self._file.flush()

    def progress(self, state: "RefreshProgress") -> None:
        """Write a progress event, unless the last one is recent and blocks are still missing."""
        now = time.monotonic()
        settled = state.blocks_done + state.blocks_failed == state.blocks_total
        recent = self._told is not None and now - self._told < EVENT_SECONDS
        if recent and settled == self._settled:
            return
        self._told, self._settled = now, settled
        left = state.seconds_left
        self.write(
            "progress",
            images=state.rows_done,
            images_total=state.rows_total,
            blocks=state.blocks_done,
            blocks_total=state.blocks_total,
            blocks_failed=state.blocks_failed,
            images_per_second=round(state.images_per_second, 1),
            eta_seconds=None if left is None else round(left, 1),
            workers=state.workers,
            dashboard=state.dashboard,
        )


@contextmanager
def refresh_progress(log: EventLog) -> Iterator[Show]:
    """Give a function that shows each state: on standard error, and in the log."""
    from rich.console import Console

    console = Console(stderr=True)
    shows: list[Show] = [log.progress]
    if is_quiet():
        yield lambda state: _all(shows, state)
        return
    if not console.is_terminal or console.is_dumb_terminal:
        shows.append(_Lines().show)
        yield lambda state: _all(shows, state)
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None)

        def show(state: "RefreshProgress") -> None:
            text = describe(state)
            if state.dashboard is not None:
                text += f", {state.dashboard}"
            bars.update(task, completed=state.rows_done, total=state.rows_total, description=text)

        shows.append(show)
        yield lambda state: _all(shows, state)


def describe(state: "RefreshProgress") -> str:
    """Say in one line how far a refresh is."""
    text = f"{state.rows_done:,} of {state.rows_total:,} images"
    text += f", {state.blocks_done} of {state.blocks_total} blocks"
    if state.blocks_failed:
        text += f" ({state.blocks_failed} failed)"
    if state.images_per_second:
        text += f", {state.images_per_second:,.0f} images/s"
    if state.seconds_left:
        text += f", {duration(state.seconds_left)} left"
    return f"{text}, {counted(state.workers, 'worker')}"


def duration(seconds: float) -> str:
    """Write a time as a person would: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class _Lines:
    """A line now and then, for logs."""

    def __init__(self) -> None:
        self._shown = time.monotonic()
        self._dashboard: str | None = None

    def show(self, state: "RefreshProgress") -> None:
        if state.dashboard != self._dashboard:
            self._dashboard = state.dashboard
            click.echo(f"dashboard {state.dashboard}", err=True)
        if time.monotonic() - self._shown >= LINE_SECONDS:
            self._shown = time.monotonic()
            click.echo(describe(state), err=True)


def _all(shows: list[Show], state: "RefreshProgress") -> None:
    for show in shows:
        show(state)
