"""How a watcher works, apart from what it follows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.errors import RefreshError
from pipeline.refresh.executors import Executor
from pipeline.refresh.watch_checkpoints import DEFAULT_PATTERN


class Log(Protocol):
    """Takes each step: a word for programs, a line for people, and the figures in it."""

    def __call__(self, event: str, text: str, **fields: Any) -> None:  # noqa: ANN401  # JSON values
        """Tell of one step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchOptions:
    """How a watcher works; nothing here changes the maps."""

    run: Path
    """The folder that is followed, for people."""
    checkpoints: Path
    """Where its checkpoints are written."""
    cache: str
    """Path or URL of the cache."""
    state: Path
    """The watcher's own folder: heartbeat and pinned checkpoints."""
    log: Log
    """Takes each step."""
    pattern: str = DEFAULT_PATTERN
    """Names of checkpoints."""
    executor: Executor | None = None
    """Who computes; None is this process."""
    keep: int | None = None
    """Newest generations that stay in the cache; None removes nothing."""
    grace_seconds: float = 3600.0
    """What was in use less than this long ago stays too."""
    poll_seconds: float = 10.0
    """Time between two looks at the folder."""
    until_done: bool = False
    """End when the run's last wanted epoch is published."""
    metrics_host: str = "127.0.0.1"
    """Address that metrics are served at."""
    metrics_port: int | None = None
    """Its port, 0 for a free one; None serves none."""
    retry_seconds: float = 5.0
    """Wait after a failed attempt; it doubles with each further one."""
    max_retry_seconds: float = 300.0
    """Longest such wait."""
    takeover_seconds: float = 60.0
    """A second watcher takes over when the first one's heartbeat stands still for so long."""
    stop: Callable[[], bool] = lambda: False
    """Asked several times a second whether to stop, and between the batches of a refresh."""

    def __post_init__(self) -> None:
        for name in ("poll_seconds", "retry_seconds", "takeover_seconds"):
            if getattr(self, name) <= 0:
                raise RefreshError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.keep is not None and self.keep < 1:
            raise RefreshError(f"keep must be 1 or more, got {self.keep}")
