"""Maps that are made while training goes on, and adopted at a later epoch."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import Stopped
from pipeline.refresh.plan_search import PlanSearch
from pipeline.training.contact import Contact
from pipeline.training.map_makers import ClusterMaker, MadeMaps, MapMaker, WantedMaps, WatchedMaker
from pipeline.training.pending_maps import KeptCheckpoints
from pipeline.training.refresh_step import network_of_file, plan_from_checkpoint
from pipeline.training.run_folder import Row, RunFolder
from pipeline.training.setup import RunParts

POLL_SECONDS = 0.2
"""How often maps that are late are looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdoptedMaps:
    """Maps that the following epoch begins with."""

    epoch: int
    """0-based epoch of their weights."""
    generation: int
    """Number of their generation."""
    told: str
    """How they came, for the log."""


class LaterMaps:
    """Has maps made, and waits for those that are due; on the first rank alone. To be closed.

    Args:
        parts: The run's parts.
        folder: Where its checkpoints are.
        contact: Told of a refresh that is waited for, and asked meanwhile whether to stop.
    """

    def __init__(self, parts: RunParts, folder: RunFolder, contact: Contact) -> None:
        self._parts = parts
        self._recipe = parts.recipe.refresh
        self._contact = contact
        self._kept = KeptCheckpoints(folder)
        self._wanted: dict[int, WantedMaps] = {}
        self._maker: MapMaker
        if self._recipe.executor == "dask":
            self._maker = ClusterMaker(self._recipe)
        else:
            own = Path(parts.cache) == folder.cache
            self._maker = WatchedMaker(folder.path, None if own else parts.cache)

    def close(self) -> None:
        """Stop what is being made; it goes on when the run is resumed."""
        self._maker.close()

    def begin(self, epoch: int) -> None:
        """Let the maps of the weights after an epoch be made, unless that has begun.

        Raises:
            RecipeError: If those weights are not there any more.
            RefreshError: If nobody is there to make them.
        """
        if epoch in self._wanted:
            return
        checkpoint = self._kept.keep(epoch)
        network = network_of_file(self._parts, checkpoint)
        plan = plan_from_checkpoint(self._parts, checkpoint, epoch, network)
        wanted = WantedMaps(epoch=epoch, plan=plan, search=PlanSearch(plan))
        self._wanted[epoch] = wanted
        if wanted.search.look() is None:
            self._maker.begin(wanted)

    def adopt(self, pending: Sequence[int], following: int) -> AdoptedMaps | None:
        """Return the maps that an epoch begins with, if it does with new ones.

        Args:
            pending: Epochs whose maps have begun, oldest first.
            following: 0-based epoch that is to begin.

        Raises:
            RefreshError: If maps can't be made.
            Stopped: If `stop` said so, or maps are late; what is done stays done.
        """
        for epoch in reversed(pending):
            if self._recipe.adopt == "as-soon-as":
                made = self._look(self._wanted[epoch])
                waited = 0.0
            elif epoch + 1 + self._recipe.lag <= following:
                made, waited = self._await(self._wanted[epoch])
            else:
                continue
            if made is not None:
                return AdoptedMaps(
                    epoch=epoch, generation=made.generation.number, told=_told(epoch, made, waited)
                )
        return None

    def release(self, rows: Sequence[Row]) -> None:
        """Let go of the checkpoints that no run resumed from the ones there would need."""
        self._kept.release(rows)

    def _look(self, wanted: WantedMaps) -> MadeMaps | None:
        found = wanted.search.found
        return self._maker.look(wanted) if found is None else MadeMaps(generation=found)

    def _await(self, wanted: WantedMaps) -> tuple[MadeMaps, float]:
        """Return maps, waiting until they are there, and how long that took."""
        begun, show = time.perf_counter(), None
        while (made := self._look(wanted)) is None:
            if self._contact.stop():
                raise Stopped(
                    f"stopped while waiting for the maps after epoch {wanted.epoch}: go on with "
                    "the same command and --resume"
                )
            if time.perf_counter() - begun >= self._recipe.timeout:
                raise Stopped(self._late(wanted))
            if show is None:
                self._contact.log(
                    f"waiting for the maps after epoch {wanted.epoch}: {self._maker.cure}"
                )
                show = self._contact.progress("new maps")
            if self._maker.progress is not None:
                show(*self._maker.progress)
            time.sleep(POLL_SECONDS)
        return made, time.perf_counter() - begun

    def _late(self, wanted: WantedMaps) -> str:
        near = wanted.search.near_miss
        return (
            f"the maps after epoch {wanted.epoch} are not there after {self._recipe.timeout:g} s "
            f"(refresh.timeout): {self._maker.cure}"
            + (f"; other maps of these weights are there: {near}" if near else "")
            + "; then go on with the same command and --resume"
        )


def _told(epoch: int, made: MadeMaps, waited: float) -> str:
    made_in = "" if made.seconds is None else f" in {made.seconds:.1f} s"
    return (
        f"new maps: generation {made.generation.number}{made_in}, of the weights after epoch "
        f"{epoch}, waited for {waited:.1f} s, {made.generation.manifest.num_flat} flat"
    )
