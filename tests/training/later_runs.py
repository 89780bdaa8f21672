"""What tests of maps that come later share: runs, their rows, and a maker without processes."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from cache_store.store import SaliencyStore
from pipeline.refresh.job import execute
from pipeline.training.map_makers import MadeMaps
from pipeline.training.run_folder import RunFolder
from pipeline.training.trainer import TrainOptions, train

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.training.map_makers import WantedMaps
    from pipeline.training.recipe import Recipe
    from pipeline.training.refresh_recipe import RefreshRecipe


def run_recipe(recipe: Recipe, run: Path, **options: Any) -> RunFolder:  # noqa: ANN401
    return train(recipe, TrainOptions(**{"run": run, "log": lambda _line: None, **options}))


def rows_of(folder: RunFolder) -> list[dict[str, str]]:
    return list(csv.DictReader(folder.metrics_path.read_text().splitlines()))


def column(folder: RunFolder, name: str) -> list[str]:
    return [row[name] for row in rows_of(folder)]


def maps_by_epoch(folder: RunFolder, cache: Path | None = None) -> list[int | None]:
    """Return for each epoch the epoch of the weights that its maps are from."""
    store = SaliencyStore.open(cache or folder.cache)
    numbers = map(int, column(folder, "generation"))
    return [store.generation(number).provenance.epoch if number else None for number in numbers]


def assert_equal_runs(first: RunFolder, second: RunFolder) -> None:
    ours, theirs = (
        torch.load(folder.checkpoint_paths()[-1], weights_only=True)["model"]
        for folder in (first, second)
    )
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
    timed = ("images_per_second", "seconds_", "share_")
    timeless = [
        [
            {name: value for name, value in row.items() if not name.startswith(timed)}
            for row in rows_of(folder)
        ]
        for folder in (first, second)
    ]
    assert timeless[0] == timeless[1]


class LateMaker:
    """Stands in for the cluster: maps are there after so many looks, and need no process."""

    cure = "hurry up"
    progress = (1, 40)
    looks: ClassVar[dict[int, int]] = {}
    """Looks that the maps after an epoch take; 1 where nothing is said."""
    living: ClassVar[list[LateMaker]] = []

    def __init__(self, _recipe: RefreshRecipe) -> None:
        self.begun: dict[int, int] = {}
        self.closed = False
        LateMaker.living.append(self)

    def begin(self, wanted: WantedMaps) -> None:
        assert wanted.epoch not in self.begun
        self.begun[wanted.epoch] = 0

    def look(self, wanted: WantedMaps) -> MadeMaps | None:
        self.begun[wanted.epoch] += 1
        if self.begun[wanted.epoch] < self.looks.get(wanted.epoch, 1):
            return None
        return MadeMaps(generation=execute(wanted.plan).generation, seconds=1.0)

    def close(self) -> None:
        self.closed = True
