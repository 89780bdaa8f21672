"""A training run: taking its folder, building its parts, and going through its epochs."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pipeline.errors import CantLock, RecipeError
from pipeline.refresh.plan import resolve_device
from pipeline.training.checkpoint import Progress, load_checkpoint, newest_checkpoint
from pipeline.training.contact import Contact, Log, Progressing
from pipeline.training.folder_lock import folder_lock
from pipeline.training.harvest import Harvest
from pipeline.training.ranks import Ranks, joined_ranks
from pipeline.training.recipe import Recipe
from pipeline.training.refreshes import Refreshes
from pipeline.training.repetition import differences
from pipeline.training.run_events import run_facts, run_sinks
from pipeline.training.run_folder import RunFolder
from pipeline.training.run_log import WARNING, RunLog, telling
from pipeline.training.run_loop import RunLoop
from pipeline.training.setup import RunParts, build_parts


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
    quiet: bool = False
    """Tell the user the final figures only; log.jsonl has everything all the same."""
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
        contact = Contact(log=log, progress=options.progress, stop=options.stop)
        harvest = None
        if recipe.refresh.mode == "harvest":
            harvest = ranks.together(lambda: Harvest(parts))
        refreshes = Refreshes(parts, folder, contact, harvest)
        held.callback(refreshes.close)
        loop = RunLoop(parts, folder, contact, refreshes, harvest, log, options.checkpoint_seconds)
        # Dropout must not be the same for the samples of every rank.
        torch.manual_seed(recipe.seed + RANK_SEEDS * ranks.rank)
        if newest is None:
            first = ranks.from_first(refreshes.first_generation)
            progress = Progress(epoch=-1, generation=first)
        else:
            progress = load_checkpoint(newest, loop.stage_of, recipe.digest(), ranks, harvest)
            ranks.together(lambda: refreshes.resume(progress))
        if ranks.leads:
            _tell_beginning(parts, options, progress, log)
            folder.write_recipe(recipe)
        loop.run(progress)
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
    log.add(*run_sinks(folder, options.log, quiet=options.quiet, tensorboard=options.tensorboard))
    if problem is not None:
        log(f"{WARNING}{problem}; see to it that no other process trains there")
    return newest_checkpoint(folder)


def _tell_beginning(
    parts: RunParts, options: TrainOptions, progress: Progress, log: RunLog
) -> None:
    facts = run_facts(parts, progress.generation)
    if progress.epoch >= 0 or progress.loader is not None:
        position = 0 if progress.loader is None else progress.loader["position"]
        text = f"going on {_where(progress)} of {options.run}"
        log.tell("resume", text, epoch=progress.epoch + 1, position=position, **facts)
        return
    log.tell("start", epoch=0, **facts)
    if options.repeats is not None:
        for line in differences(RunFolder(options.repeats), facts):
            log(line)


def _quiet(options: TrainOptions) -> TrainOptions:
    """Return the options of a rank that does not talk to the user."""
    silent = TrainOptions(run=options.run)
    return replace(options, log=lambda _line: None, progress=silent.progress)


def _where(progress: Progress) -> str:
    if progress.loader is None:
        return f"after epoch {progress.epoch}"
    return f"in epoch {progress.under_way} after {progress.loader['position']} images"
