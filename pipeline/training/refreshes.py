"""The maps of a run: which generation each epoch draws from, and the refreshes that make them."""

import time
from dataclasses import dataclass, field

from cache_store.errors import CacheMismatchError, CacheNotFoundError
from cache_store.store import SaliencyStore
from loaders.batches import NO_GENERATION
from pipeline.errors import RecipeError, Stopped
from pipeline.refresh.policy import RefreshDecision
from pipeline.training.checkpoint import Progress
from pipeline.training.contact import Contact
from pipeline.training.harvest import Harvest
from pipeline.training.inline_refresh import refresh_from_checkpoint
from pipeline.training.later_maps import AdoptedMaps, LaterMaps
from pipeline.training.pending_maps import WANTED, pending_epochs
from pipeline.training.probe import Probe
from pipeline.training.refresh_step import refresh_policy
from pipeline.training.run_folder import Row, RunFolder
from pipeline.training.run_log import WARNING
from pipeline.training.setup import RunParts
from pipeline.training.stage import Stage

HARVESTED = "harvest"
"""What metrics.csv says of an epoch whose maps came out of its own steps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Following:
    """What the epoch after a checkpoint begins with."""

    generation: int
    """Generation that it draws from, 0 for none."""
    told: Row = field(default_factory=dict)
    """Columns of the epoch that is done."""


class Refreshes:
    """Says after each checkpoint which maps the next epoch draws from, and lets new ones be made.

    Nothing that must not be lost is in its memory: after a checkpoint was loaded, `resume` finds
    out what was on its way. It is to be closed. Every rank has one, and all call it together.

    Args:
        parts: The run's parts; their network holds the weights of the checkpoint in question.
        folder: Where its checkpoints are.
        contact: Told how far a refresh is, and asked between batches whether to stop.
        harvest: Maps out of training's own steps, published after every epoch; None for none.
    """

    def __init__(
        self,
        parts: RunParts,
        folder: RunFolder,
        contact: Contact,
        harvest: Harvest | None = None,
    ) -> None:
        self._harvest = harvest
        self._parts = parts
        self._folder = folder
        self._contact = contact
        self._policy = refresh_policy(parts.recipe)
        recipe = parts.recipe.refresh
        self._probe = Probe(parts, contact.stop) if recipe.when == "adaptive" else None
        self._later: LaterMaps | None = None
        if recipe.executor != "inline":
            self._later = LaterMaps(parts, folder, contact)

    def close(self) -> None:
        """Stop what is being made; it goes on when the run is resumed."""
        if self._later is not None:
            self._later.close()

    def first_generation(self) -> int:
        """Return the newest generation of a cache that was there before the run, 0 for none.

        Raises:
            RecipeError: If there is none, the run makes none, and its method needs one.
        """
        self._warn()
        try:
            generation = SaliencyStore.open(self._parts.cache).latest()
        except CacheNotFoundError:
            self._require_none_needed()
            return NO_GENERATION
        made = generation.provenance
        self._contact.log(
            f"beginning with generation {generation.number} of {self._parts.cache}, "
            f"from {made.network}"
        )
        if made.weights == "random":
            self._contact.log(f"{WARNING}those maps are from a network with random weights")
        return generation.number

    def resume(self, progress: Progress) -> None:
        """Refuse to go on with other maps, and take up the refreshes that were on their way.

        Args:
            progress: Of the checkpoint that was loaded.

        Raises:
            CacheMismatchError: If its generation has other maps than it was trained with.
            StoreError: If its generation is not there any more.
            RecipeError: If the weights that maps are to be made from are not there any more.
        """
        self._warn()
        if progress.generation != NO_GENERATION:
            cache = self._parts.cache
            digest = SaliencyStore.open(cache).generation(progress.generation).digest
            if digest != progress.generation_digest:
                raise CacheMismatchError(
                    f"generation {progress.generation} of {cache} has digest {digest[:12]}, the "
                    f"checkpoint was trained with {progress.generation_digest[:12]}: name the "
                    "cache of this run with --cache, or begin anew with another --run"
                )
        if self._later is not None and self._parts.ranks.leads:
            for epoch in pending_epochs(progress.rows):
                self._later.begin(epoch)

    def after(self, progress: Progress, stage: Stage) -> Following:
        """Let maps be made if the policy wants it, and adopt those that are due.

        Args:
            progress: Of the checkpoint that was just written, or resumed from.
            stage: What it belongs to.

        Raises:
            RefreshError: If maps can't be made.
            Stopped: If `stop` said so, or maps are late; what is done stays done.
        """
        if stage.number > 1:
            self.close()
            return Following(generation=progress.generation, told={"refresh": "no: second stage"})
        begun = time.perf_counter()
        decision, distance = self._decide(progress)
        told: Row = {"refresh": WANTED if decision.wanted else f"no: {decision.reason}"}
        seconds, adopted = 0.0, None
        if distance is not None:
            told["map_distance"] = distance
            seconds = time.perf_counter() - begun
        if self._later is not None:
            if decision.wanted:
                self._contact.log(self._expected(progress.epoch, decision.reason))
            adopted = self._advance(self._later, progress, wanted=decision.wanted)
            seconds = time.perf_counter() - begun
        elif (made := self._made_now(progress.epoch, decision)) is not None:
            adopted, making = made
            seconds += making
            told["refresh"] = WANTED if decision.wanted else HARVESTED
        told["seconds_refresh"] = round(seconds, 3)
        if adopted is None:
            return Following(generation=progress.generation, told=told)
        self._contact.log(adopted.told)
        return Following(generation=adopted.generation, told=told | {"adopted": adopted.epoch})

    def _decide(self, progress: Progress) -> tuple[RefreshDecision, float | None]:
        """Return whether the weights of a checkpoint are to make maps, and what was measured."""
        decision = self._policy.after(progress.epoch)
        if not decision.wanted or self._probe is None:
            return decision, None
        pending = pending_epochs(progress.rows)
        if self._policy.lag and pending:
            reason = f"the maps after epoch {pending[-1]} are on their way"
            return RefreshDecision(wanted=False, reason=reason), None
        if progress.generation == NO_GENERATION:
            return RefreshDecision(wanted=True, reason="there are no maps yet"), None
        return self._measure(self._probe, progress)

    def _measure(self, probe: Probe, progress: Progress) -> tuple[RefreshDecision, float]:
        lam = self._policy.lam(self._policy.adopted_at(progress.epoch))
        distance = self._parts.ranks.from_first(
            lambda: probe.distance(progress.epoch, progress.generation, lam)
        )
        threshold = self._parts.recipe.refresh.threshold
        wanted = distance > threshold
        reason = f"maps have moved by {distance:.3f}, refresh.threshold = {threshold:g}"
        if not wanted:
            self._contact.log(f"no new maps after epoch {progress.epoch}: {reason}")
        return RefreshDecision(wanted=wanted, reason=reason), distance

    def _refresh(self, epoch: int, reason: str) -> tuple[AdoptedMaps, float]:
        """Make maps of the present weights now; return them and the time that all of them take."""
        try:
            report = refresh_from_checkpoint(
                self._parts,
                self._folder.checkpoint_path(epoch),
                epoch,
                progress=self._contact.progress("new maps"),
                stop=self._contact.stop,
            )
        except Stopped as stopped:
            raise Stopped(
                f"stopped after epoch {epoch} while new maps were made: go on with the same "
                "command and --resume"
            ) from stopped
        number = report.generation.number
        made = f"new maps: generation {number} in {report.seconds:.1f} s, {report.num_flat} flat"
        adopted = AdoptedMaps(epoch=epoch, generation=number, told=f"{made} ({reason})")
        return adopted, report.seconds_whole

    def _made_now(self, epoch: int, decision: RefreshDecision) -> tuple[AdoptedMaps, float] | None:
        """Make maps by a pass if that is wanted, or else of what training has seen of the images.

        Returns:
            The maps and the time that all of them take; None if no epoch needs any.
        """
        harvest = self._harvest
        if decision.wanted:
            made = self._refresh(epoch, decision.reason)
            if harvest is not None:
                harvest.take_over(made[0].generation, epoch)
            return made
        if harvest is None or epoch + 1 >= self._parts.recipe.train.epochs:
            return None
        return self._publish(harvest, epoch)

    def _publish(self, harvest: Harvest, epoch: int) -> tuple[AdoptedMaps, float]:
        """Publish what was harvested; return it and the time that this takes."""
        begun = time.perf_counter()

        def work() -> tuple[int, str]:
            report, found = harvest.publish(self._folder, epoch)
            shown = f"{found.coverage:.1%} of their cells seen, {found.age:.1f} epochs ago"
            number = report.generation.number
            return number, f"harvested maps: generation {number}, {shown}"

        number, text = self._parts.ranks.from_first(work)
        adopted = AdoptedMaps(epoch=epoch, generation=number, told=text)
        return adopted, time.perf_counter() - begun

    def _advance(self, later: LaterMaps, progress: Progress, *, wanted: bool) -> AdoptedMaps | None:
        """Begin what is wanted and take what is due, on the first rank for all of them."""

        def work() -> AdoptedMaps | None:
            pending = [*pending_epochs(progress.rows), *([progress.epoch] if wanted else [])]
            for epoch in pending:
                later.begin(epoch)
            later.release(progress.rows)
            return later.adopt(pending, progress.epoch + 1)

        return self._parts.ranks.from_first(work)

    def _expected(self, epoch: int, reason: str) -> str:
        when = f"for epoch {self._policy.adopted_at(epoch)}"
        if self._parts.recipe.refresh.adopt == "as-soon-as":
            when = "as soon as they are there"
        return f"maps of the weights after epoch {epoch} are wanted {when} ({reason})"

    def _warn(self) -> None:
        if self._parts.recipe.refresh.adopt == "as-soon-as":
            self._contact.log(
                f'{WARNING}refresh.adopt = "as-soon-as": which epochs draw from which maps '
                "depends on time, so this run can't be repeated"
            )

    def _require_none_needed(self) -> None:
        method, recipe = self._parts.method, self._parts.recipe
        made = recipe.refresh.interval or recipe.refresh.mode == "harvest"
        if method is None or not method.needs_maps or made:
            return
        raise RecipeError(
            f"augment.method = {recipe.augment.name!r} takes its places from saliency maps, but "
            f"there are none at {self._parts.cache} and refresh.interval = 0 makes none: name a "
            "cache with --cache, or set refresh.interval, or another augment.saliency"
        )
