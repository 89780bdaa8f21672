"""Recipes times seeds, one run after another: what is done is skipped, what is begun goes on."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from cache_store.errors import ScaeError
from pipeline.errors import Stopped, SweepError
from pipeline.training.contact import Progressing
from pipeline.training.folder_lock import folder_lock
from pipeline.training.recipe import Recipe
from pipeline.training.recipe_file import load_recipe
from pipeline.training.run_folder import RunFolder
from pipeline.training.run_record import current_versions, read_record, record_of
from pipeline.training.trainer import TrainOptions, train

State = Literal["done", "begun", "new"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRun:
    """One recipe with one seed."""

    file: str
    """Name of the recipe's file without its ending."""
    recipe: Recipe
    """The recipe with that seed."""
    folder: Path
    """Its run folder."""

    @property
    def title(self) -> str:
        """What the user sees."""
        return f"{self.file}, seed {self.recipe.seed}"

    @property
    def record_path(self) -> Path:
        """Its record, beside the run folder."""
        return self.folder.with_name(f"{self.folder.name}.json")

    @property
    def error_path(self) -> Path:
        """Where the traceback of a run that failed is left."""
        return self.folder.with_name(f"{self.folder.name}.error.txt")

    def state(self) -> State:
        """Tell how far it is."""
        if self.record_path.exists():
            return "done"
        return "begun" if RunFolder(self.folder).checkpoint_paths() else "new"


@dataclass(frozen=True, slots=True)
class SweepOutcome:
    """What became of a sweep's runs."""

    done: list[PlannedRun] = field(default_factory=list)
    """Runs that were finished now."""
    skipped: list[PlannedRun] = field(default_factory=list)
    """Runs that were done before."""
    failed: list[tuple[PlannedRun, str]] = field(default_factory=list)
    """Runs that failed, and why."""


def plan_sweep(
    recipes: Sequence[Path],
    seeds: Sequence[int],
    runs: Path,
    *,
    overrides: Sequence[str] = (),
    debug: bool = False,
) -> list[PlannedRun]:
    """Return the runs in their order: all recipes with the first seed, then with the next one.

    So a table has one figure in every row before any row has its second.

    Args:
        recipes: Recipe files.
        seeds: Seeds; each one once.
        runs: Folder of the sweep.
        overrides: Words such as `train.epochs=3`, for all recipes.
        debug: Take the recipes' debug forms.

    Raises:
        RecipeError: If a recipe is wrong.
        SweepError: If names or seeds are there twice, seeds are set by an override, or a record
            there is of other settings.
    """
    names = [path.stem for path in recipes]
    for what, values in (("recipe names", names), ("seeds", list(seeds))):
        if len(set(values)) < len(values):
            raise SweepError(f"{what} must be there once each, got {values}")
    if any(word.partition("=")[0].strip() == "seed" for word in overrides):
        raise SweepError("--set seed would do nothing: a sweep's seeds are those of --seeds")
    loaded = [load_recipe(path, overrides, debug=debug) for path in recipes]
    planned = [
        PlannedRun(file=name, recipe=replace(recipe, seed=seed), folder=runs / f"{name}-seed{seed}")
        for seed in seeds
        for name, recipe in zip(names, loaded, strict=True)
    ]
    for run in planned:
        _check_record(run)
    return planned


def run_sweep(
    planned: Sequence[PlannedRun],
    runs: Path,
    *,
    log: Callable[[str], None] = print,
    progress: Progressing = lambda _label: lambda _done, _total: None,
    stop: Callable[[], bool] = lambda: False,
) -> SweepOutcome:
    """Do the runs that are not done, one after another, and write a record after each.

    A run that fails leaves its traceback beside its folder, and the others go on.

    Args:
        planned: The runs.
        runs: Folder of the sweep; made if it is not there.
        log: Called with each line for the user.
        progress: Shows steps.
        stop: Asked between steps whether to stop.

    Raises:
        Stopped: If `stop` said so; finished runs keep their records, the last one its checkpoint.
        SweepError: If another sweep works in the folder, or it can't be made.
    """
    try:
        runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SweepError(
            f"can't make folder {runs}: {error.strerror}; name another --runs"
        ) from error
    outcome = SweepOutcome()
    with folder_lock(runs / "sweep.lock"):
        for number, run in enumerate(planned, 1):
            head = f"run {number} of {len(planned)}: {run.title}"
            if run.state() == "done":
                outcome.skipped.append(run)
                log(f"{head}: done before")
                continue
            if stop():
                raise Stopped(_stopped(outcome, planned))
            log(head)
            options = TrainOptions(
                run=run.folder, resume=True, log=log, progress=progress, stop=stop
            )
            try:
                _attempt(run, options, outcome)
            except Stopped as stopped:
                raise Stopped(_stopped(outcome, planned)) from stopped
    return outcome


def _attempt(run: PlannedRun, options: TrainOptions, outcome: SweepOutcome) -> None:
    """Do one run and note what became of it; only a wish to stop ends the sweep."""
    try:
        _one(run, options)
    except Stopped:
        raise
    except Exception as error:  # noqa: BLE001  # named at the end; the night goes on
        outcome.failed.append((run, _reason(error)))
        options.log(f"{run.title} failed: {_reason(error)}")
        _leave_traceback(run, options.log)
    else:
        outcome.done.append(run)


def _one(run: PlannedRun, options: TrainOptions) -> None:
    folder = train(run.recipe, options)
    record = replace(record_of(folder, recipe=run.file), versions=current_versions())
    record.write(run.record_path)
    run.error_path.unlink(missing_ok=True)


def _leave_traceback(run: PlannedRun, log: Callable[[str], None]) -> None:
    try:
        run.error_path.write_text(traceback.format_exc())
    except OSError as error:  # a full disk may be why the run failed
        log(f"its traceback can't be written to {run.error_path} ({error.strerror}):")
        log(traceback.format_exc())


def _check_record(run: PlannedRun) -> None:
    if run.state() != "done":
        return
    digest = read_record(run.record_path).digest
    if digest != run.recipe.digest():
        raise SweepError(
            f"record {run.record_path} is of other settings (digest {digest[:12]}, now "
            f"{run.recipe.digest()[:12]}): name another --runs, or remove it with its run folder"
        )


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ScaeError) else f"{type(error).__name__}: {text}"


def _stopped(outcome: SweepOutcome, planned: Sequence[PlannedRun]) -> str:
    done = len(outcome.done) + len(outcome.skipped)
    return f"stopped with {done} of {len(planned)} runs done: the same command goes on"
