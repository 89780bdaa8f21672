"""How far a refresh is, for people and for logs."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshProgress:
    """The state of a running refresh."""

    rows_done: int
    """Images whose block is done, those found from an earlier run included."""
    rows_found: int
    """Images whose block an earlier run had left done."""
    rows_total: int
    """Images this job has to do, or to find done."""
    blocks_done: int
    """Blocks done, those found included."""
    blocks_total: int
    """Blocks in all."""
    blocks_failed: int
    """Blocks given up."""
    workers: int
    """Processes that compute at the moment."""
    seconds: float
    """Time since the first block could begin."""
    dashboard: str | None = None
    """Address of Dask's own dashboard."""

    @property
    def images_per_second(self) -> float:
        """Images computed per second so far."""
        return (self.rows_done - self.rows_found) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time until the last block is done at this speed; None before the first one is."""
        speed = self.images_per_second
        return (self.rows_total - self.rows_done) / speed if speed else None


Progress = Callable[[RefreshProgress], None]
"""Called when something has changed, and now and then."""


class ProgressCount:
    """Counts what is done and tells it.

    Args:
        tell: Called with each new state.
        rows: Images in all.
        blocks: Blocks in all.
        rows_found: Images that are done already.
        blocks_found: Blocks that are done already.
    """

    def __init__(
        self, tell: Progress, *, rows: int, blocks: int, rows_found: int, blocks_found: int
    ) -> None:
        self._tell = tell
        self._rows = rows
        self._blocks = blocks
        self.rows_found = rows_found
        self._rows_done = rows_found
        self._blocks_done = blocks_found
        self._failed = 0
        self._begun = time.monotonic()

    def done(self, rows: int) -> None:
        """Count a finished block of so many rows."""
        self._rows_done += rows
        self._blocks_done += 1

    def failed(self) -> None:
        """Count a block that was given up."""
        self._failed += 1

    def tell(self, workers: int, dashboard: str | None) -> None:
        """Tell the present state."""
        self._tell(
            RefreshProgress(
                rows_done=self._rows_done,
                rows_found=self.rows_found,
                rows_total=self._rows,
                blocks_done=self._blocks_done,
                blocks_total=self._blocks,
                blocks_failed=self._failed,
                workers=workers,
                seconds=time.monotonic() - self._begun,
                dashboard=dashboard,
            )
        )
