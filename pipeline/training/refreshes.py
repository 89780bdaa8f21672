"""The maps of a run: which generation each epoch draws from, and the refreshes that make them."""

from collections.abc import Callable
from dataclasses import dataclass, field

from cache_store.errors import CacheMismatchError, CacheNotFoundError
from cache_store.store import SaliencyStore
from loaders.batches import NO_GENERATION
from pipeline.errors import RecipeError
from pipeline.training.checkpoint import Progress
from pipeline.training.epoch import StepProgress
from pipeline.training.refresh_step import refresh_from_checkpoint, refresh_policy
from pipeline.training.run_folder import Row, RunFolder
from pipeline.training.setup import RunParts
from pipeline.training.stage import Stage

Log = Callable[[str], None]
Progressing = Callable[[str], StepProgress]
"""Given a label, returns the function that shows steps done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Following:
    """What the epoch after a checkpoint begins with."""

    generation: int
    """Generation that it draws from, 0 for none."""
    told: Row = field(default_factory=dict)
    """Columns of the epoch that is done."""


class Refreshes:
    """Says after each checkpoint which maps the next epoch draws from, and makes new ones.

    Args:
        parts: The run's parts; their network holds the weights of the checkpoint in question.
        folder: Where its checkpoints are.
        log: Called with each line for the user.
        progress: Shows how far a refresh is.
        stop: Asked between batches whether to stop.
    """

    def __init__(
        self,
        parts: RunParts,
        folder: RunFolder,
        *,
        log: Log,
        progress: Progressing,
        stop: Callable[[], bool],
    ) -> None:
        self._parts = parts
        self._folder = folder
        self._log = log
        self._progress = progress
        self._stop = stop
        self._policy = refresh_policy(parts.recipe)

    def first_generation(self) -> int:
        """Return the newest generation of a cache that was there before the run, 0 for none.

        Raises:
            RecipeError: If there is none, the run makes none, and its method needs one.
        """
        try:
            generation = SaliencyStore.open(self._parts.cache).latest()
        except CacheNotFoundError:
            self._require_none_needed()
            return NO_GENERATION
        made = generation.provenance
        self._log(
            f"beginning with generation {generation.number} of {self._parts.cache}, "
            f"from {made.network}"
        )
        if made.weights == "random":
            self._log("warning: those maps are from a network with random weights")
        return generation.number

    def check(self, progress: Progress) -> None:
        """Refuse to go on from a checkpoint whose maps are not those of the cache.

        Raises:
            CacheMismatchError: If its generation has other maps than it was trained with.
            StoreError: If its generation is not there any more.
        """
        if progress.generation == NO_GENERATION:
            return
        cache = self._parts.cache
        digest = SaliencyStore.open(cache).generation(progress.generation).digest
        if digest != progress.generation_digest:
            raise CacheMismatchError(
                f"generation {progress.generation} of {cache} has digest {digest[:12]}, the "
                f"checkpoint was trained with {progress.generation_digest[:12]}: name the cache "
                "of this run with --cache, or begin anew with another --run"
            )

    def after(self, progress: Progress, stage: Stage) -> Following:
        """Refresh if the policy wants it.

        Args:
            progress: Of the checkpoint that was just written, or resumed from.
            stage: What it belongs to.

        Raises:
            Stopped: If `stop` said so; blocks that are done stay done.
        """
        if stage.number > 1:
            return _unchanged(progress, "second stage")
        decision = self._policy.after(progress.epoch)
        if not decision.wanted:
            return _unchanged(progress, decision.reason)
        report = refresh_from_checkpoint(
            self._parts,
            self._folder.checkpoint_path(progress.epoch),
            progress.epoch,
            progress=self._progress("new maps"),
            stop=self._stop,
        )
        generation = report.generation
        self._log(
            f"new maps: generation {generation.number} in {report.seconds:.1f} s, "
            f"{report.num_flat} flat ({decision.reason})"
        )
        return Following(
            generation=generation.number,
            told={"refresh": "yes", "seconds_refresh": report.seconds_whole},
        )

    def _require_none_needed(self) -> None:
        method, recipe = self._parts.method, self._parts.recipe
        if method is None or not method.needs_maps or recipe.refresh.interval:
            return
        raise RecipeError(
            f"augment.method = {recipe.augment.name!r} takes its places from saliency maps, but "
            f"there are none at {self._parts.cache} and refresh.interval = 0 makes none: name a "
            "cache with --cache, or set refresh.interval, or another augment.saliency"
        )


def _unchanged(progress: Progress, reason: str) -> Following:
    return Following(generation=progress.generation, told={"refresh": f"no: {reason}"})
