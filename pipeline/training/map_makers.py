"""Who makes a run's new maps while training goes on: a Dask cluster, or `scae watch`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cache_store.generation import Generation
from cache_store.store import SaliencyStore
from pipeline.errors import RefreshError, Stopped
from pipeline.refresh.plan import RefreshPlan
from pipeline.refresh.plan_search import PlanSearch
from pipeline.training.refresh_recipe import RefreshRecipe


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class WantedMaps:
    """Maps that a run needs."""

    epoch: int
    """0-based epoch that is done: of the weights."""
    plan: RefreshPlan
    """What they are made from."""
    search: PlanSearch
    """Looks whether they are published."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeMaps:
    """Maps that are there."""

    generation: Generation
    """The published generation; its plan is that of the wanted maps."""
    seconds: float | None = None
    """Time that making them took; None if that is not known."""


class MapMaker(Protocol):
    """Makes wanted maps while training goes on."""

    cure: str
    """What a user can do about maps that are late."""

    @property
    def progress(self) -> tuple[int, int] | None:
        """Images done and in all of the refresh in hand, as of the last look; None: not known."""

    def begin(self, wanted: WantedMaps) -> None:
        """Let maps be made that are not there; after those begun before."""

    def look(self, wanted: WantedMaps) -> MadeMaps | None:
        """Return maps that were begun as soon as they are there, None before.

        Raises:
            RefreshError: If they can't be made.
            Stopped: If the making was stopped and can be resumed.
        """

    def close(self) -> None:
        """Stop what is in hand."""


class ClusterMaker:
    """Lets a Dask cluster make maps, driven by a process of its own.

    Args:
        recipe: Names the cluster.

    Raises:
        RefreshError: If it does so by a value that is out of range.
    """

    cure = "give the cluster more workers, or set a longer refresh.timeout or refresh.lag"

    def __init__(self, recipe: RefreshRecipe) -> None:
        from pipeline.refresh.background import BackgroundRefreshes
        from pipeline.refresh.dask_cluster import ClusterOptions

        cluster = ClusterOptions(
            workers=recipe.workers or None,
            memory_limit=recipe.memory_limit,
            scheduler=recipe.scheduler,
            scheduler_file=recipe.scheduler_file,
        )
        newest_only = recipe.adopt == "as-soon-as"
        self._background = BackgroundRefreshes(cluster, newest_only=newest_only)

    @property
    def progress(self) -> tuple[int, int] | None:
        """Images done and in all of the refresh in hand."""
        return self._background.progress

    def begin(self, wanted: WantedMaps) -> None:
        """Submit a plan."""
        self._background.submit(wanted.epoch, wanted.plan)

    def look(self, wanted: WantedMaps) -> MadeMaps | None:
        """Return the maps if they are there."""
        ended = self._background.look(wanted.epoch)
        if ended is None:
            return None
        if ended.error is not None:
            kind = Stopped if ended.resumable else RefreshError
            raise kind(
                f"the maps after epoch {wanted.epoch} were not made: {ended.error}; then go on "
                "with the same command and --resume"
            )
        if ended.generation is None:
            return None  # left out, since a later one was there
        generation = SaliencyStore.open(wanted.plan.cache).generation(ended.generation)
        return MadeMaps(generation=generation, seconds=ended.seconds)

    def close(self) -> None:
        """Stop the refresh in hand; its blocks stay."""
        self._background.close()


class WatchedMaker:
    """Leaves maps to a watcher, and takes those of the very plan alone.

    Args:
        run: The run folder.
        cache: Path or URL of the cache; None for the one in the run folder.
    """

    progress: tuple[int, int] | None = None

    def __init__(self, run: Path, cache: str | None) -> None:
        command = f"scae watch {run}" + ("" if cache is None else f" --cache {cache}")
        self.cure = f"is a watcher at work? Start one by '{command}'"

    def begin(self, wanted: WantedMaps) -> None:
        """Do nothing: the watcher sees the checkpoint."""

    def look(self, wanted: WantedMaps) -> MadeMaps | None:
        """Return the maps if they are published."""
        found = wanted.search.look()
        return None if found is None else MadeMaps(generation=found)

    def close(self) -> None:
        """Do nothing."""
