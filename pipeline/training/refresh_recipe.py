"""Section [refresh] of a recipe: when maps are made anew, who makes them, when they are adopted."""

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.training.checks import refuse_unused, require

LATER_REFRESH_KEYS: dict[str, Any] = {
    "mode": "pass",
    "executor": "inline",
    "lag": 1,
    "adopt": "in-order",
    "timeout": 3600.0,
    "scheduler": None,
    "scheduler_file": None,
    "memory_limit": None,
    "when": "interval",
    "threshold": 0.05,
    "probe": 512,
}
"""Keys that came after runs were recorded, with their defaults; see `recipe.LATER_KEYS`."""
_BESIDE = ("dask", "external")
_USED_BY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("lag", "adopt", "timeout"), _BESIDE),
    **dict.fromkeys(("workers", "scheduler", "scheduler_file", "memory_limit"), ("dask",)),
}
_ADAPTIVE: dict[str, tuple[str, ...]] = dict.fromkeys(("threshold", "probe"), ("adaptive",))
_PLACES = ("workers", "scheduler", "scheduler_file")


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshRecipe:
    """Section [refresh]."""

    mode: Literal["pass", "harvest"] = "pass"
    """pass: maps are made by a pass over all images, every `interval` epochs; harvest: after every
    epoch out of its own forward passes, see section [harvest], and by passes where `interval` says
    so, to bound how far they drift."""
    interval: int = 4
    """R: epochs between refreshes; 0 = never."""
    when: Literal["interval", "adaptive"] = "interval"
    """adaptive: of those epochs, only where the maps have moved by more than `threshold`."""
    threshold: float = 0.05
    """adaptive: mean total variation between the densities of Eq. 4, in [0, 1]."""
    probe: int = 512
    """adaptive: training images that it is measured on, always the same ones."""
    batch_size: int = 128
    """Images a forward pass."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Precision of the forward pass."""
    on_error: Literal["raise", "skip"] = "raise"
    """An unreadable image stops the refresh, or gets a flat map."""
    executor: Literal["inline", "dask", "external"] = "inline"
    """inline: training waits while this process makes the maps; dask: a cluster makes them while
    training goes on; external: `scae watch` does."""
    lag: int = 1
    """dask, external: maps of the weights after epoch e are adopted when epoch e + 1 + lag begins,
    neither earlier nor later; 1 or more."""
    adopt: Literal["in-order", "as-soon-as"] = "in-order"
    """as-soon-as: at the first epoch that begins after they are published, whichever that is. Such
    a run depends on time and can't be repeated."""
    timeout: float = 3600.0
    """dask, external: seconds that training waits for maps that are late, before it stops with exit
    code 75."""
    workers: int = 0
    """dask: processes of a cluster on this machine; 0: one a core, or one a GPU."""
    memory_limit: str | None = None
    """dask: memory of each of them, such as 4GiB; left out: an equal share."""
    scheduler: str | None = None
    """dask: address of a running scheduler, such as tcp://host:8786."""
    scheduler_file: str | None = None
    """dask: file that a running scheduler has written."""

    def __post_init__(self) -> None:
        require("interval", self.interval >= 0, "0 or more", self.interval)
        require("workers", self.workers >= 0, "0 or more", self.workers)
        for name in ("batch_size", "lag", "probe"):
            require(name, getattr(self, name) >= 1, "1 or more", getattr(self, name))
        require("threshold", 0 <= self.threshold < 1, "0 or more and below 1", self.threshold)
        require("timeout", self.timeout > 0, "above 0", self.timeout)
        refuse_unused(self, "refresh.executor", _USED_BY, choice="executor")
        refuse_unused(self, "refresh.when", _ADAPTIVE, choice="when")
        self._check_external()
        self._check_harvest()
        self._check_places()

    def _check_external(self) -> None:
        if self.adopt == "as-soon-as":
            require("lag", self.lag == 1, "left out with adopt = 'as-soon-as'", self.lag)
        elif self.executor == "external" and self.interval:
            # The watcher takes the newest checkpoint, so of two that wait one is never made.
            below = "below refresh.interval with executor = 'external'"
            require("lag", self.lag < self.interval, f"{below} ({self.interval})", self.lag)
        if self.executor == "external":
            allowed = "'interval' with executor = 'external', which knows only the recipe"
            require("when", self.when == "interval", allowed, self.when)

    def _check_harvest(self) -> None:
        if self.mode == "harvest":
            allowed = "'inline' with mode = 'harvest', whose maps are there when an epoch ends"
            require("executor", self.executor == "inline", allowed, self.executor)

    def _check_places(self) -> None:
        named = [name for name in _PLACES if getattr(self, name)]
        require("the cluster", len(named) <= 1, f"named by one of {', '.join(_PLACES)}", named)

    @property
    def delay(self) -> int:
        """Epochs between the first one that new maps could be for and the one they are for."""
        return 0 if self.executor == "inline" else self.lag

    def digested(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return what changes the result: of who makes the maps, only how late they come.

        Args:
            fields: The section as TOML values.
        """
        kept = {key: value for key, value in fields.items() if key not in _USED_BY}
        kept.pop("executor", None)
        kept["workers"] = 0  # where it stood before there were executors
        if self.adopt == "as-soon-as":
            return {**kept, "adopt": self.adopt}
        return {**kept, "lag": self.lag} if self.delay else kept
