"""What a watcher is doing: one record that heartbeat and metrics are drawn from."""

from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal[
    "starting", "standby", "waiting", "refreshing", "backing off", "done", "stopped", "failed"
]
"""What the watcher is at."""
SKIPS = ("damaged", "vanished", "superseded", "missed")
"""Why wanted checkpoints were skipped."""


@dataclass(kw_only=True, slots=True)
class WatchStatus:
    """The present state of a watcher; None is not known yet."""

    run: str
    """Folder that is followed."""
    cache: str
    """Path or URL of the cache."""
    state: State = "starting"
    """What it is at."""
    epoch_seen: int | None = None
    """Newest epoch with a checkpoint."""
    epoch_refreshing: int | None = None
    """Epoch that is being refreshed from."""
    epoch_published: int | None = None
    """Epoch of the last generation that this watcher published or found."""
    generation: int | None = None
    """Its number."""
    digest: str | None = None
    """Its digest."""
    images_done: int = 0
    """Images done in the refresh under way, or in the last one."""
    images_total: int = 0
    """Images in all."""
    images_per_second: float | None = None
    """Speed of the refresh under way, or of the last one."""
    refreshes: int = 0
    """Generations published since the start."""
    removed: int = 0
    """Generations collected since the start."""
    skipped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SKIPS, 0))
    """Wanted checkpoints without a refresh since the start, by reason."""
    errors: int = 0
    """Attempts that failed since the start."""
    failures: int = 0
    """Attempts that failed one after another; 0 when all is well."""
    error: str | None = None
    """What went wrong the last time; None when all is well."""
    report: dict[str, Any] | None = None
    """Figures of the last refresh, as `scae refresh --json` prints them."""
