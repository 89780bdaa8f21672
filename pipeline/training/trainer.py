"""The training run: epochs, checkpoints, and new maps whenever the refresh policy wants them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from cache_store.store import SaliencyStore
from loaders.batches import NO_GENERATION
from pipeline.errors import RecipeError
from pipeline.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from pipeline.training.epoch import train_epoch
from pipeline.training.evaluation import evaluate_run
from pipeline.training.first_stage import first_stage
from pipeline.training.recipe import Recipe
from pipeline.training.refreshes import Progressing, Refreshes
from pipeline.training.run_folder import Row, RunFolder
from pipeline.training.second_stage import second_stage
from pipeline.training.setup import RunParts, build_parts
from pipeline.training.stage import Stage
from pipeline.training.summary import finish

Log = Callable[[str], None]


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
    refreshes = Refreshes(
        parts, folder, log=options.log, progress=options.progress, stop=options.stop
    )
    progress = Progress(epoch=-1, generation=refreshes.first_generation())
    trainer = _Trainer(parts, folder, options, refreshes)
    if checkpoints:
        progress = load_checkpoint(checkpoints[-1], trainer.stage_of, recipe.digest())
        refreshes.check(progress)
        options.log(f"going on after epoch {progress.epoch} of {folder.path}")
    folder.write_recipe(recipe)
    trainer.run(progress)
    return folder


class _Trainer:
    """The loop over the epochs of all stages."""

    def __init__(
        self, parts: RunParts, folder: RunFolder, options: TrainOptions, refreshes: Refreshes
    ) -> None:
        self.parts, self.folder, self.options = parts, folder, options
        self.refreshes = refreshes
        self.stage = first_stage(parts)

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
            generation = self._next_generation(progress, rows)
        for epoch in range(progress.epoch + 1, self.parts.recipe.num_epochs):
            rows.append(self._epoch(self.stage_of(epoch), epoch, generation))
            progress = self._checkpoint(epoch, generation, rows)
            generation = self._next_generation(progress, rows)
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

    def _next_generation(self, progress: Progress, rows: list[Row]) -> int:
        """Return the generation of the next epoch; the last row gets what the refresh tells."""
        following = self.refreshes.after(progress, self.stage)
        rows[-1] = {**rows[-1], **following.told}
        return following.generation


def _describe(row: Row) -> str:
    parts = [f"loss {row['train_loss']:.3f}", f"lambda {row['lam']:.2f}"]
    if row.get("test_top1") is not None:
        parts.append(f"test {row['test_top1']:.1%}")
        named = ((name, row.get(f"test_{name}")) for name in ("many", "medium", "few"))
        parts += [f"{name} {value:.1%}" for name, value in named if value is not None]
    parts.append(f"{row['images_per_second']:.0f} images/s")
    return "  ".join(parts)
