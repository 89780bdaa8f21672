"""Records of runs that nobody has to train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.training.recipe_file import load_recipe
from pipeline.training.run_record import RunRecord

if TYPE_CHECKING:
    from collections.abc import Callable

RECIPES = Path(__file__).parent.parent.parent.parent / "recipes"


@pytest.fixture
def make_record() -> Callable[..., RunRecord]:
    """Make the record of a run of a shipped recipe."""

    def make(
        name: str, seed: int, top1: float, *words: str, debug: bool = False, sweep: bool = True
    ) -> RunRecord:
        recipe = load_recipe(RECIPES / f"{name}.toml", [f"seed={seed}", *words], debug=debug)
        final = dict.fromkeys(("top1", "top5", "balanced", "ece", "many", "medium", "few"), top1)
        return RunRecord(
            recipe=name if sweep else None,
            name=recipe.name,
            digest=recipe.digest(),
            seed=seed,
            settings=recipe.as_dict(),
            epochs=200,
            final={**final, "few": None},
            best={"top1": top1 + 0.01, "epoch": 190},
            erased_pixels={"all": 0.05, "many": None, "medium": 0.05, "few": 0.05},
            occlusion=None,
            seconds={"total": 120.0},
            num_parameters=10,
            versions={"scae": "0.1.0"},
        )

    return make


@pytest.fixture
def write_records(tmp_path: Path, make_record: Callable[..., RunRecord]) -> Callable[..., Path]:
    """Write records of recipes, seeds and accuracies into a folder as a sweep does."""

    def write(*runs: tuple[str, int, float], folder: str = "sweep") -> Path:
        target = tmp_path / folder
        target.mkdir(exist_ok=True)
        for name, seed, top1 in runs:
            record = make_record(name, seed, top1)
            replace(record).write(target / f"{name}-seed{seed}.json")
        return target

    return write
