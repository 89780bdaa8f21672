"""The training run: epochs, checkpoints, and new maps whenever the refresh policy wants them."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from cache_store.store import SaliencyStore
from loaders.batches import NO_GENERATION
from pipeline.errors import CantLock, RecipeError, Stopped
from pipeline.refresh.plan import resolve_device
from pipeline.training.checkpoint import (
    Progress,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)
from pipeline.training.epoch import train_epoch
from pipeline.training.epoch_sums import EpochSums, epoch_row, seen_so_far, taken_up
from pipeline.training.evaluation import evaluate_run
from pipeline.training.first_stage import first_stage
from pipeline.training.folder_lock import folder_lock
from pipeline.training.later_maps import Progressing
from pipeline.training.pauses import Pauses
from pipeline.training.ranks import ALONE, Ranks, joined_ranks
from pipeline.training.recipe import Recipe
from pipeline.training.refreshes import Refreshes
from pipeline.training.repetition import differences
from pipeline.training.run_events import (
    epoch_facts,
    epoch_line,
    refresh_facts,
    run_facts,
    run_sinks,
)
from pipeline.training.run_folder import Row, RunFolder
from pipeline.training.run_log import WARNING, RunLog, telling
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
    must_resume: bool = False
    """With `resume`: fail where there is none."""
    repeats: Path | None = None
    """Folder of a run that this one repeats; what differs from it is told."""
    checkpoint_seconds: float = 900.0
    """Time between two checkpoints in the middle of an epoch; 0 for none but when stopping."""
    accept_stale: bool = False
    """Use the maps of images that have changed since; a warning says how many."""
    log: Log = print
    """Called with each line for the user."""
    tensorboard: bool = False
    """Write the figures for TensorBoard too."""
    progress: Progressing = lambda _label: lambda _done, _total: None
    """Shows steps."""
    stop: Callable[[], bool] = lambda: False
    """Asked between steps whether to stop."""


RANK_SEEDS = 1 << 32
"""Distance of the seeds of torch's generators from rank to rank: beyond any run's own seed."""


def train(recipe: Recipe, options: TrainOptions) -> RunFolder:
    """Run a recipe to its end, or go on with an unfinished run.

    Where torchrun has started several processes, each calls this, and they train one network
    together: on the batches of one process, of which each takes its part.

    Returns:
        The run folder with recipe, metrics, summary, report, checkpoints and maps.

    Raises:
        RecipeError: If the folder holds another run, or this one and `resume` is False.
        FolderInUse: If another process trains there.
        Stopped: If `options.stop` said so; there is a checkpoint of this very step.
        TrainingError: If the loss is not finite, ranks can't be joined or are lost, or tensorboard
            is wanted and not installed.
    """
    with joined_ranks(resolve_device(recipe.train.device)) as ranks:
        return _train(recipe, options if ranks.leads else _quiet(options), ranks)


def _train(recipe: Recipe, options: TrainOptions, ranks: Ranks) -> RunFolder:
    folder, log = RunFolder(options.run), RunLog()
    with ExitStack() as held:
        held.enter_context(telling(log))
        newest = ranks.from_first(lambda: _taken(folder, options, held, log))
        torch.manual_seed(recipe.seed)
        cache = options.cache or folder.cache
        parts = ranks.together(
            lambda: build_parts(recipe, cache, accept_stale=options.accept_stale, ranks=ranks)
        )
        refreshes = Refreshes(parts, folder, log=log, progress=options.progress, stop=options.stop)
        held.callback(refreshes.close)
        first = ranks.from_first(refreshes.first_generation)
        progress = Progress(epoch=-1, generation=first)
        trainer = _Trainer(parts, folder, options, refreshes, log)
        # Dropout must not be the same for the samples of every rank.
        torch.manual_seed(recipe.seed + RANK_SEEDS * ranks.rank)
        if newest is not None:
            progress = load_checkpoint(newest, trainer.stage_of, recipe.digest(), ranks)
            ranks.together(lambda: refreshes.resume(progress))
        if ranks.leads:
            _tell_beginning(trainer, progress)
            folder.write_recipe(recipe)
        trainer.run(progress)
    return folder


def _taken(folder: RunFolder, options: TrainOptions, held: ExitStack, log: RunLog) -> Path | None:
    """Take the folder for this run; return the checkpoint to go on from, None for a new run."""
    if folder.holds_a_run and not options.resume:
        raise RecipeError(
            f"run folder {folder.path} holds a run already: go on with it by --resume, or name "
            "another --run"
        )
    if options.must_resume and not folder.holds_a_run:
        raise RecipeError(
            f"run folder {folder.path} has no checkpoint to go on from: name the run's own --run, "
            "or begin it by --resume auto"
        )
    folder.make()
    problem: CantLock | None = None
    try:
        held.enter_context(folder_lock(folder.lock_path))
    except CantLock as error:  # some network file systems have no locks
        problem = error
    # Not before the lock: another process that trains there writes the same log.
    log.add(*run_sinks(folder, options.log, tensorboard=options.tensorboard))
    if problem is not None:
        log(f"{WARNING}{problem}; see to it that no other process trains there")
    return newest_checkpoint(folder)


def _tell_beginning(trainer: "_Trainer", progress: Progress) -> None:
    facts = run_facts(trainer.parts, progress.generation)
    folder, log, repeats = trainer.folder, trainer.log, trainer.options.repeats
    if progress.epoch >= 0 or progress.loader is not None:
        position = 0 if progress.loader is None else progress.loader["position"]
        text = f"going on {_where(progress)} of {folder.path}"
        log.tell("resume", text, epoch=progress.epoch + 1, position=position, **facts)
        return
    log.tell("start", epoch=0, **facts)
    for line in [] if repeats is None else differences(RunFolder(repeats), facts):
        log(line)


def _quiet(options: TrainOptions) -> TrainOptions:
    """Return the options of a rank that does not talk to the user."""
    silent = TrainOptions(run=options.run)
    return replace(options, log=lambda _line: None, progress=silent.progress)


def _where(progress: Progress) -> str:
    if progress.loader is None:
        return f"after epoch {progress.epoch}"
    return f"in epoch {progress.under_way} after {progress.loader['position']} images"


class _Trainer:
    """The loop over the epochs of all stages, on each rank."""

    def __init__(
        self,
        parts: RunParts,
        folder: RunFolder,
        options: TrainOptions,
        refreshes: Refreshes,
        log: RunLog,
    ) -> None:
        self.parts, self.folder, self.options = parts, folder, options
        self.refreshes, self.log = refreshes, log
        self.ranks = parts.ranks
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
        generation, begun = progress.generation, None
        if progress.loader is not None:
            begun = progress
        elif progress.epoch >= 0:
            generation = self._next_generation(progress, rows)
        for epoch in range(progress.epoch + 1, self.parts.recipe.num_epochs):
            rows.append(self._epoch(epoch, generation, rows, begun))
            begun = None
            progress = self._checkpoint(epoch, generation, rows)
            generation = self._next_generation(progress, rows)
        self.stage.finish()
        if self.ranks.leads:
            if self.stage.average is not None:
                self.folder.write_weights(self.parts.built.module)
            finish(replace(self.parts, ranks=ALONE), self.folder, rows, self.log)

    def _epoch(self, epoch: int, generation: int, rows: list[Row], begun: Progress | None) -> Row:
        """Train and measure an epoch, or what is left of the one that had begun."""
        parts, stage = self.parts, self.stage_of(epoch)
        lr = stage.begin_epoch(epoch)
        sums = EpochSums()
        if begun is not None and begun.loader is not None:
            sums = taken_up(stage.loader, begun.loader, begun.seen)
        stage.loader.set_epoch(epoch, generation)
        label = f"epoch {epoch} of 0..{parts.recipe.num_epochs - 1}"

        def save() -> None:
            self._checkpoint(epoch - 1, generation, rows, sums)

        pauses = Pauses(self.ranks, self.options.stop, self.options.checkpoint_seconds, save)
        train_epoch(parts, stage, epoch, sums, pauses, self.options.progress(label))
        row: Row = {
            "epoch": epoch,
            "stage": stage.number,
            "lr": lr,
            "lam": stage.lam(epoch),
            "generation": generation,
            "seconds_refresh": 0.0,
            "refresh": "",
            **epoch_row(sums, stage.loader, self.ranks),
            **self._evaluate(save),
        }
        if self.ranks.leads:
            facts = epoch_facts(row)
            text = epoch_line(facts, parts.recipe.augment.name)
            self.log.tell("epoch", f"{label}  {text}", **facts)
        return row

    def _evaluate(self, save: Callable[[], None]) -> Row:
        """Measure the network; if stopped meanwhile, `save` before."""
        begun = time.perf_counter()
        self.ranks.share_buffers(self.stage.network)
        if self.stage.average is not None:
            self.ranks.share_buffers(self.stage.average)
        try:
            with self.stage.deployed():
                evaluated = evaluate_run(self.parts, stop=self.options.stop)
        except Stopped:
            save()
            raise
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

    def _checkpoint(
        self, epoch: int, generation: int, rows: list[Row], middle: EpochSums | None = None
    ) -> Progress:
        """Write the checkpoint after an epoch, or in the middle of the one that follows it.

        Args:
            epoch: 0-based epoch that is done.
            generation: Generation that it was drawn from, or the following one is.
            rows: metrics.csv up to this epoch.
            middle: Sums of the following epoch, if it has begun.
        """
        parts, loader = self.parts, self.stage.loader
        digest = ""
        if generation != NO_GENERATION:
            digest = SaliencyStore.open(parts.cache).generation(generation).digest
        progress = Progress(
            epoch=epoch,
            generation=generation,
            generation_digest=digest,
            rows=tuple(rows),
            loader=None if middle is None else loader.state_dict(),
            seen=None if middle is None else seen_so_far(middle, loader),
        )
        save_checkpoint(
            self.folder,
            self.stage,
            progress,
            parts.recipe.digest(),
            keep=parts.recipe.train.keep_checkpoints,
            ranks=self.ranks,
        )
        if middle is None and self.ranks.leads:
            self.folder.write_metrics(rows)
        return progress

    def _next_generation(self, progress: Progress, rows: list[Row]) -> int:
        """Return the generation of the next epoch; the last row gets what the refresh tells."""
        following = self.refreshes.after(progress, self.stage)
        rows[-1] = {**rows[-1], **following.told}
        if self.ranks.leads:
            self._account(rows)
        return following.generation

    def _account(self, rows: list[Row]) -> None:
        """Note what the refresh took, if there was one, where the next process finds it."""
        row = rows[-1]
        # One that was killed in the epoch after the refresh had noted and told it.
        earlier = self.folder.seconds_refresh(row["epoch"])
        if earlier:
            row["seconds_refresh"] = earlier
        self.folder.write_metrics(rows)
        if row["seconds_refresh"] and not earlier:
            facts = refresh_facts(row)
            share, epoch = facts["share_refresh"], facts["epoch"]
            # Of maps that others made in time there is nothing to say.
            text = f"maps took {share:.1%} of the time of epoch {epoch}" if share > 5e-4 else ""
            self.log.tell("refresh", text, **facts)
