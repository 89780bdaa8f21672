"""Finding finished runs: records of a sweep, run folders, or folders of either."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.errors import RecipeError
from pipeline.training.run_folder import RunFolder
from pipeline.training.run_record import RunRecord, read_record, record_of

WHAT_TO_NAME = "name folders of `scae sweep` or run folders of `scae train`"
"""What to do where there are no runs."""

__all__ = ["collect_runs"]


def collect_runs(paths: Sequence[Path], warn: Callable[[str], None]) -> list[RunRecord]:
    """Return the records of all finished runs, each one once.

    Args:
        paths: Records, run folders, or folders that hold records or run folders.
        warn: Called with a line for each unfinished run and each contradiction.

    Raises:
        RecipeError: If a path is none of these, or a file can't be read.
    """
    found: dict[tuple[str, str], tuple[RunRecord, Path]] = {}
    for path in paths:
        for record, place in _records(path, warn):
            key = (record.digest, record.name)
            if key not in found:
                found[key] = (record, place)
            elif found[key][0].final != record.final:
                warn(
                    f"{place} and {found[key][1]} are one run (seed {record.seed} of "
                    f"{record.name}) with different figures: those of the latter are taken"
                )
    return [record for record, _ in found.values()]


def _records(path: Path, warn: Callable[[str], None]) -> list[tuple[RunRecord, Path]]:
    if path.is_file():
        return [(read_record(path), path)]
    if not path.is_dir():
        raise RecipeError(f"no run or folder of runs at {path}: {WHAT_TO_NAME}")
    if (path / "recipe.toml").is_file():
        folder = RunFolder(path)
        if not folder.summary_path.is_file():
            warn(f"run {path} is not finished: left out")
            return []
        return [(record_of(folder), path)]
    inside = sorted(path.glob("*.json"))
    recorded = {file.stem for file in inside}
    # A sweep's record says more than its run folder: which recipe file, which versions.
    inside += [
        one
        for one in sorted(path.iterdir())
        if one.name not in recorded and (one / "recipe.toml").is_file()
    ]
    if not inside:
        raise RecipeError(f"folder {path} holds no records and no runs: {WHAT_TO_NAME}")
    return [pair for one in inside for pair in _records(one, warn)]
