"""The record of a finished run: a small JSON file that a report needs, and nothing else.

Accuracies are shares in [0, 1].
"""

import csv
import json
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.errors import RecipeError
from pipeline.refresh.whole_file import write_whole
from pipeline.training.recipe import Recipe
from pipeline.training.recipe_file import load_recipe
from pipeline.training.run_folder import RunFolder

RECORD_VERSION = 1
"""Of the file's form; others are refused."""
FINAL_METRICS = ("top1", "top5", "balanced", "ece", "many", "medium", "few")
"""Figures of summary.json that are kept."""
VERSIONED = ("scae", "torch", "torchvision", "numpy")
"""Packages whose versions are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """What is left of a run when its folder is gone."""

    recipe: str | None
    """Name of the recipe's file without its ending; None if it is not known."""
    name: str
    """Title of the run."""
    digest: str
    """The recipe's digest, hex SHA-256."""
    seed: int
    """The run's seed."""
    settings: dict[str, Any]
    """The resolved recipe as TOML values."""
    epochs: int
    """Epochs of all stages."""
    final: dict[str, float | None]
    """`FINAL_METRICS` of the last epoch's network; None where not measured."""
    best: dict[str, float | None]
    """Highest top-1 of any epoch, and that epoch: other papers report that."""
    erased_pixels: dict[str, float | None]
    """Mean erased share of pixels in the first stage, in all and by class group."""
    occlusion: dict[str, Any] | None
    """Occlusion robustness, if it was measured."""
    seconds: dict[str, float]
    """Time in all, and shares of it."""
    num_parameters: int
    """Of the network."""
    versions: dict[str, str] = field(default_factory=dict)
    """Python and packages of the process that finished the run; empty if not known."""

    def write(self, path: Path) -> None:
        """Write the record, whole or not at all."""
        fields = {"version": RECORD_VERSION, **asdict(self)}
        write_whole(path, (json.dumps(fields, indent=1) + "\n").encode())


def record_of(folder: RunFolder, *, recipe: str | None = None) -> RunRecord:
    """Return the record of a finished run's folder.

    Args:
        folder: The run folder.
        recipe: Name of the recipe's file without its ending, if it is known.

    Raises:
        RecipeError: If the folder has no finished run, or its files can't be read.
    """
    if not folder.summary_path.is_file():
        raise RecipeError(
            f"run {folder.path} is not finished: it has no {folder.summary_path.name}; go on with "
            "it by `scae train --resume`"
        )
    loaded = load_recipe(folder.recipe_path)
    try:
        summary = json.loads(folder.summary_path.read_text())
        return _record(loaded, summary, _top1_by_epoch(folder.metrics_path), recipe)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecipeError(
            f"can't read the figures of run {folder.path}: {error!r}; go on with it by "
            "`scae train --resume`"
        ) from error


def read_record(path: Path) -> RunRecord:
    """Read a record.

    Raises:
        RecipeError: If the file is no record of this version.
    """
    try:
        fields = json.loads(path.read_text())
        found = fields.pop("version")
        if found == RECORD_VERSION:
            return RunRecord(**fields)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecipeError(
            f"{path} is no record of a run, as `scae sweep` writes them: {error}; remove it"
        ) from error
    raise RecipeError(f"record {path} must be of version {RECORD_VERSION}, got {found!r}")


def current_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    packages = {package: version(package) for package in VERSIONED}
    return {"python": platform.python_version(), "machine": platform.machine(), **packages}


def _record(
    recipe: Recipe, summary: dict[str, Any], top1: dict[int, float], file: str | None
) -> RunRecord:
    best = max(top1, key=lambda epoch: top1[epoch]) if top1 else None
    shares = {key: summary[key] for key in summary if key.startswith("share_")}
    return RunRecord(
        recipe=file,
        name=recipe.name,
        digest=recipe.digest(),
        seed=recipe.seed,
        settings=recipe.as_dict(),
        epochs=summary["epochs"],
        final={name: summary[name] for name in FINAL_METRICS},
        best={"top1": None if best is None else top1[best], "epoch": best},
        erased_pixels=summary["erased_pixels"],
        occlusion=summary.get("occlusion"),
        seconds={"total": summary["seconds_total"], **shares},
        num_parameters=summary["num_parameters"],
    )


def _top1_by_epoch(path: Path) -> dict[int, float]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {int(row["epoch"]): float(row["test_top1"]) for row in rows if row["test_top1"]}
