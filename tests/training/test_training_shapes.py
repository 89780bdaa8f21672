"""The main job on a small share of the embedded data: do its maps find the objects?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipeline.training.recipe_file import load_recipe
from pipeline.training.trainer import TrainOptions, train

if TYPE_CHECKING:
    from pathlib import Path


def test_maps_of_the_main_job_point_at_the_objects_beyond_chance(tmp_path: Path) -> None:
    recipe = load_recipe(
        None,
        [
            "data.name=shapes", "data.classes=4", "data.imbalance=10", "network.name=resnet8",
            "train.epochs=7", "train.batch_size=64", "train.precision=fp32", "refresh.interval=3",
        ],
    )  # fmt: skip
    folder = train(recipe, TrainOptions(run=tmp_path / "run", log=lambda _line: None))
    summary = json.loads(folder.summary_path.read_text())
    last = summary["pointing"][-1]
    assert last["generation"] == 2
    assert last["lower"] > last["chance"]
    assert last["energy"] > last["chance"]
