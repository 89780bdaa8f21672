"""What a run says of its maps from generation to generation, whatever a collector has taken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from cache_store.gains import axis_weights
from cache_store.store import SaliencyStore
from pipeline.training.trainer import TrainOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.training.recipe import Recipe
    from pipeline.training.run_folder import RunFolder

SIDE = 16


def _train(recipe: Recipe, run: Path, *, resume: bool = False) -> tuple[RunFolder, dict[str, Any]]:
    folder = train(recipe, TrainOptions(run=run, log=lambda _line: None, resume=resume))
    return folder, json.loads(folder.summary_path.read_text())


def _density(map_hw: NDArray[np.uint8], lam: float) -> NDArray[np.float64]:
    """Eq. 4 over the pixels of the whole image."""
    places = (np.arange(SIDE) + 0.5) / SIDE
    rows, columns = (axis_weights(places, cells) for cells in map_hw.shape)
    saliency = rows @ (map_hw / 255) @ columns.T
    spread = saliency.max() - saliency.min()
    saliency = (saliency - saliency.min()) / spread if spread else 0 * saliency
    weights = np.exp(lam * saliency)
    density: NDArray[np.float64] = weights / weights.sum()
    return density


def test_movement_is_measured_once_and_collected_generations_leave_a_gap(
    tmp_path: Path, tiny_recipe: Callable[..., Recipe]
) -> None:
    recipe = tiny_recipe("refresh.interval=1", "augment.lambda_max=2.0")
    folder, summary = _train(recipe, tmp_path / "run")
    movement = summary["movement"]
    assert [made["number"] for made in summary["generations"]] == [1, 2, 3]
    assert movement["lambda"] == 2.0 * 3 / 4
    assert movement["num_sampled"] == 40
    assert [(step["before"], step["after"]) for step in movement["steps"]] == [(1, 2), (2, 3)]
    store = SaliencyStore.open(folder.cache, "r+")
    maps = [np.asarray(store.generation(number).saliency[:]) for number in (2, 3)]
    pairs = list(zip(*maps, strict=True))
    distances = [np.abs(_density(a, 1.5) - _density(b, 1.5)).sum() / 2 for a, b in pairs]
    ranks = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in pairs if np.ptp(a) and np.ptp(b)]
    assert movement["steps"][1]["tv_distance"] == pytest.approx(np.mean(distances), abs=1e-5)
    assert movement["steps"][1]["rank_correlation"] == pytest.approx(np.mean(ranks))

    assert store.gc(keep=2, grace_seconds=0).generations == (1,)
    _, again = _train(recipe, tmp_path / "run", resume=True)
    assert again["generations"][0] == {
        "number": 1, "digest": None, "epoch": None, "missing": "not in the cache any more",
    }  # fmt: skip
    gap, step = again["movement"]["steps"]
    assert gap == {"before": 1, "after": 2, "gap": "not in the cache any more"}
    assert step == movement["steps"][1]
    report = folder.report_path.read_text()
    assert "not in the cache any more" in report
    assert "How far do the maps move?" in report
