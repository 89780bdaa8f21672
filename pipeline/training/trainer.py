"""The training run: epochs, checkpoints, and new maps whenever the refresh policy wants them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from cache_store.errors import CacheMismatchError, CacheNotFoundError
from cache_store.store import SaliencyStore
from loaders.batches import NO_GENERATION
from pipeline.errors import RecipeError
from pipeline.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from pipeline.training.epoch import StepProgress, train_epoch
from pipeline.training.evaluation import evaluate_run
from pipeline.training.first_stage import first_stage
from pipeline.training.recipe import Recipe
from pipeline.training.refresh_step import refresh_from_checkpoint, refresh_policy
from pipeline.training.run_folder import Row, RunFolder
from pipeline.training.second_stage import second_stage
from pipeline.training.setup import RunParts, build_parts
from pipeline.training.stage import Stage
from pipeline.training.summary import finish

Log = Callable[[str], None]
Progressing = Callable[[str], StepProgress]
"""Given a label, returns the function that shows steps done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """How a run meets its surroundings; nothing here changes the result."""

    run: Path
    """The run folder."""
    cache: str | None = None
    """Cache to read and write, None for one in the run folder."""
    resume: bool = False
    """Go on from the newest checkpoint in the run folder, if there is one."""
    accept_stale: bool = False
    """Use the maps of images that have changed since; a warning says how many."""
    log: Log = print
    """Called with each line for the user."""
    progress: Progressing = lambda _label: lambda _done, _total: None
    """Shows steps."""
    stop: Callable[[], bool] = lambda: False
    """Asked between steps whether to stop."""


def train(recipe: Recipe, options: TrainOptions) -> RunFolder:
    """Run a recipe to its end, or go on with an unfinished run.

    Returns:
        The run folder with recipe, metrics, summary, report, checkpoints and maps.

    Raises:
        RecipeError: If the folder holds another run, or this one and `resume` is False.
        Stopped: If `options.stop` said so; the last checkpoint stays.
    """
    folder = RunFolder(options.run)
    checkpoints = folder.checkpoint_paths()
    if checkpoints and not options.resume:
        raise RecipeError(
            f"run folder {folder.path} holds a run already: go on with it by --resume, or name "
            "another --run"
        )
    folder.make()
    torch.manual_seed(recipe.seed)
    cache = options.cache or folder.cache
    parts = build_parts(recipe, cache, accept_stale=options.accept_stale)
    progress = Progress(epoch=-1, generation=_first_generation(parts, options.log))
    _check_maps(parts, progress.generation)
    trainer = _Trainer(parts, folder, options)
    if checkpoints:
        progress = load_checkpoint(checkpoints[-1], trainer.stage_of, recipe.digest())
        _check_generation(parts, progress)
        options.log(f"going on after epoch {progress.epoch} of {folder.path}")
    folder.write_recipe(recipe)
    trainer.run(progress)
    return folder


class _Trainer:
    """The loop over the epochs of all stages."""

    def __init__(self, parts: RunParts, folder: RunFolder, options: TrainOptions) -> None:
        self.parts, self.folder, self.options = parts, folder, options
        self.stage = first_stage(parts)
        self.refreshes = refresh_policy(parts.recipe)

    def stage_of(self, epoch: int) -> Stage:
        """Return the stage of an epoch; the second one begins with what the first has learnt."""
        if epoch >= self.stage.epochs.stop:
            self.stage.finish()
            self.stage = second_stage(self.parts)
        return self.stage

    def run(self, progress: Progress) -> None:
        """Train the epochs that are left and write summary and report."""
        rows = list(progress.rows)
        generation = progress.generation
        if progress.epoch >= 0:
            generation = self._after_epoch(progress, rows)
        for epoch in range(progress.epoch + 1, self.parts.recipe.num_epochs):
            rows.append(self._epoch(self.stage_of(epoch), epoch, generation))
            progress = self._checkpoint(epoch, generation, rows)
            generation = self._after_epoch(progress, rows)
        self.stage.finish()
        if self.stage.average is not None:
            self.folder.write_weights(self.parts.built.module)
        finish(self.parts, self.folder, rows, self.options.log)

    def _epoch(self, stage: Stage, epoch: int, generation: int) -> Row:
        parts = self.parts
        lr = stage.begin_epoch(epoch)
        stage.loader.set_epoch(epoch, generation)
        label = f"epoch {epoch} of 0..{parts.recipe.num_epochs - 1}"
        show, stop = self.options.progress(label), self.options.stop
        trained = train_epoch(parts, stage, epoch, show, stop)
        row: Row = {
            "epoch": epoch,
            "stage": stage.number,
            "lr": lr,
            "lam": stage.lam(epoch),
            "generation": generation,
            "seconds_refresh": 0.0,
            "refresh": "",
            **trained,
            **self._evaluate(),
        }
        self.options.log(f"{label}  {_describe(row)}")
        return row

    def _evaluate(self) -> Row:
        begun = time.perf_counter()
        with self.stage.deployed():
            evaluated = evaluate_run(self.parts)
        if evaluated is None:
            return {"seconds_evaluate": 0.0}
        result, groups = evaluated
        return {
            "test_loss": result.loss,
            "test_top1": result.top1,
            "test_top5": result.top5,
            "test_balanced": result.balanced,
            "test_ece": result.ece,
            **{f"test_{name}": share for name, share in groups.items()},
            "seconds_evaluate": time.perf_counter() - begun,
        }

    def _checkpoint(self, epoch: int, generation: int, rows: list[Row]) -> Progress:
        parts = self.parts
        digest = ""
        if generation != NO_GENERATION:
            digest = SaliencyStore.open(parts.cache).generation(generation).digest
        progress = Progress(
            epoch=epoch, generation=generation, generation_digest=digest, rows=tuple(rows)
        )
        keep = parts.recipe.train.keep_checkpoints
        save_checkpoint(self.folder, self.stage, progress, parts.recipe.digest(), keep)
        self.folder.write_metrics(rows)
        return progress

    def _after_epoch(self, progress: Progress, rows: list[Row]) -> int:
        """Refresh if the policy wants it; return the generation of the next epoch."""
        if self.stage.number > 1:
            rows[-1] = {**rows[-1], "refresh": "no: second stage"}
            return progress.generation
        decision = self.refreshes.after(progress.epoch)
        if not decision.wanted:
            rows[-1] = {**rows[-1], "refresh": f"no: {decision.reason}"}
            return progress.generation
        path = self.folder.checkpoint_path(progress.epoch)
        show = self.options.progress("new maps")
        report = refresh_from_checkpoint(
            self.parts, path, progress.epoch, progress=show, stop=self.options.stop
        )
        rows[-1] = {**rows[-1], "refresh": "yes", "seconds_refresh": report.seconds}
        generation = report.generation
        self.options.log(
            f"new maps: generation {generation.number} in {report.seconds:.1f} s, "
            f"{report.num_flat} flat ({decision.reason})"
        )
        return generation.number


def _first_generation(parts: RunParts, log: Log) -> int:
    """Return the newest generation of a cache that was there before the run, 0 for none."""
    try:
        generation = SaliencyStore.open(parts.cache).latest()
    except CacheNotFoundError:
        return NO_GENERATION
    made = generation.provenance
    log(f"beginning with generation {generation.number} of {parts.cache}, from {made.network}")
    if made.weights == "random":
        log("warning: those maps are from a network with random weights")
    return generation.number


def _check_maps(parts: RunParts, generation: int) -> None:
    method, recipe = parts.method, parts.recipe
    if method is None or not method.needs_maps or generation != NO_GENERATION:
        return
    if not recipe.refresh.interval:
        raise RecipeError(
            f"augment.method = {recipe.augment.name!r} takes its places from saliency maps, but "
            f"there are none at {parts.cache} and refresh.interval = 0 makes none: name a cache "
            "with --cache, or set refresh.interval, or another augment.saliency"
        )


def _check_generation(parts: RunParts, progress: Progress) -> None:
    if progress.generation == NO_GENERATION:
        return
    digest = SaliencyStore.open(parts.cache).generation(progress.generation).digest
    if digest != progress.generation_digest:
        raise CacheMismatchError(
            f"generation {progress.generation} of {parts.cache} has digest {digest[:12]}, the "
            f"checkpoint was trained with {progress.generation_digest[:12]}: name the cache of "
            "this run with --cache, or begin anew with another --run"
        )


def _describe(row: Row) -> str:
    parts = [f"loss {row['train_loss']:.3f}", f"lambda {row['lam']:.2f}"]
    if row.get("test_top1") is not None:
        parts.append(f"test {row['test_top1']:.1%}")
        named = ((name, row.get(f"test_{name}")) for name in ("many", "medium", "few"))
        parts += [f"{name} {value:.1%}" for name, value in named if value is not None]
    parts.append(f"{row['images_per_second']:.0f} images/s")
    return "  ".join(parts)
