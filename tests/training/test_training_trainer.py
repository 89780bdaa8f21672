from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from loaders.class_groups import class_groups
from loaders.errors import DataError
from loaders.image_data import ArrayData
from pipeline.errors import TrainingError
from pipeline.refresh.quality import saliency_quality, wilson_interval
from pipeline.saliency.networks import build_network
from pipeline.training.metrics import predict, score
from pipeline.training.trainer import TrainOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.training.recipe import Recipe

    MakeRecipe = Callable[..., Recipe]


def _lines(recipe: Recipe, run: Path, **options: Any) -> list[str]:  # noqa: ANN401
    lines: list[str] = []
    train(recipe, TrainOptions(run=run, log=lines.append, **options))
    return lines


def test_training_learns_what_can_be_learnt(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    recipe = tiny_recipe("train.epochs=12", "augment.method=none", "train.lr=0.05")
    lines = _lines(recipe, tmp_path / "run")
    accuracy = next(line for line in lines if line.startswith("accuracy"))
    assert float(accuracy.split("top1 ")[1].split("%")[0]) > 60


def test_run_begins_with_the_maps_of_a_given_cache_and_warns_of_random_ones(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    from pipeline.refresh.job import execute
    from pipeline.refresh.plan import RefreshOptions, plan_refresh
    from pipeline.refresh.sources import DataSource, NetworkSource

    recipe = tiny_recipe("train.epochs=1")
    plan = plan_refresh(
        DataSource(name=recipe.data.name),
        NetworkSource(name="resnet8", num_classes=3),
        tmp_path / "c",
        RefreshOptions(size=16),
    )
    execute(plan)
    lines = _lines(recipe, tmp_path / "run", cache=str(tmp_path / "c"))
    assert lines[0].startswith("beginning with generation 1")
    assert "random weights" in lines[1]


def test_loss_that_is_not_finite_stops_with_the_samples_named(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    with pytest.raises(TrainingError, match=r"not finite in epoch 0.*class.*lower train.lr"):
        _lines(tiny_recipe("train.lr=1e30"), tmp_path / "run")
    assert not list(tmp_path.glob("run/checkpoints/*"))


def test_folder_without_a_test_split_says_how_to_train_all_the_same(
    tmp_path: Path, tiny_recipe: MakeRecipe, image_folder: Path
) -> None:
    recipe = tiny_recipe(f"data.name={image_folder / 'train'}")
    with pytest.raises(DataError, match=r"--set data.evaluate=false"):
        _lines(recipe, tmp_path / "run")
    recipe = tiny_recipe(
        f"data.name={image_folder / 'train'}", "data.evaluate=false", "train.epochs=1"
    )
    assert any("time" in line for line in _lines(recipe, tmp_path / "run"))


def test_groups_split_classes_by_training_images() -> None:
    groups = class_groups(np.array([500, 101, 100, 20, 19, 1]))
    assert groups["many"].tolist() == [True, True, False, False, False, False]
    assert groups["medium"].tolist() == [False, False, True, True, False, False]
    assert groups["few"].tolist() == [False, False, False, False, True, True]


def test_evaluation_counts_hits_by_class_and_restores_the_mode() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 8, 8, 3), np.uint8)
    data = ArrayData(images, np.arange(30) % 7, [str(k) for k in range(7)])
    built = build_network("resnet8", num_classes=7, seed=3)
    network = built.module.train()
    norm = network.get_submodule(
        "bn1"
    ).eval()  # as a second stage without BatchNorm's statistics leaves it
    logits = predict(
        network, built, data, size=8, device=torch.device("cpu"), bf16=False, batch_size=11
    )
    result = score(logits, data.labels)
    assert network.training
    assert not norm.training
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (built.mean, built.std))
    with torch.no_grad():
        logits = network.eval()((pixels - mean) / std)
    labels = torch.from_numpy(data.labels.copy())
    right = logits.argmax(1) == labels
    assert result.top1 == pytest.approx(float(right.double().mean()))
    assert result.per_class[2] == pytest.approx(float(right[labels == 2].double().mean()))
    best = logits.argsort(1, descending=True)[:, :5]
    assert result.top5 == pytest.approx(float((best == labels[:, None]).any(1).double().mean()))


def test_pointing_game_counts_peaks_on_the_object() -> None:
    maps = np.zeros((4, 2, 2), np.uint8)
    maps[0, 0, 0] = maps[1, 1, 1] = maps[2, 0, 0] = 255  # the fourth is flat: not judged
    masks = np.zeros((4, 8, 8), np.bool_)
    masks[:, :4, :4] = True
    quality = saliency_quality(maps, masks)
    assert quality is not None
    assert quality.pointing == pytest.approx(2 / 3)
    assert quality.num_samples == 3
    assert quality.chance == 0.25
    assert quality.lower < 2 / 3 < quality.upper
    assert saliency_quality(maps[3:], masks[3:]) is None


def test_wilson_interval_matches_scipy() -> None:
    from scipy.stats import binomtest

    expected = binomtest(37, 120).proportion_ci(method="wilson")
    assert wilson_interval(37, 120) == pytest.approx((expected.low, expected.high))
