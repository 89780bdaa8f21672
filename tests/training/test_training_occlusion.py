"""Occlusion erases the area that it says it erases, and measures what is left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from loaders.image_data import ArrayData
from pipeline.errors import RecipeError
from pipeline.saliency.networks import BuiltNetwork
from pipeline.training.occlusion import (
    ORDERS,
    SHARES,
    _ranks,
    occluded,
    occlusion_robustness,
)
from pipeline.training.recipe_file import load_recipe
from pipeline.training.trainer import TrainOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.training.recipe import Recipe

    MakeRecipe = Callable[..., Recipe]


def test_ranks_follow_saliency_backwards_and_at_random() -> None:
    maps = torch.rand((5, 3, 4), generator=torch.Generator().manual_seed(1))
    ranks = _ranks(maps, range(5), 12, seed=0)
    dense = nn.functional.interpolate(maps[:, None], (12, 12), mode="bilinear").flatten(1)
    for order in ORDERS:
        assert (ranks[order].sort(1).values == torch.arange(144)).all()
    sorted_down = torch.zeros_like(dense).scatter(1, ranks["salient"], dense)
    assert (sorted_down.diff(dim=1) <= 0).all()
    sorted_up = torch.zeros_like(dense).scatter(1, ranks["least"], dense)
    assert (sorted_up.diff(dim=1) >= 0).all()
    assert not torch.equal(ranks["random"], ranks["salient"])


def test_ranks_of_an_image_do_not_depend_on_the_batch() -> None:
    maps = torch.rand((4, 2, 2), generator=torch.Generator().manual_seed(1))
    whole, part = _ranks(maps, range(4), 8, seed=3), _ranks(maps[2:], range(2, 4), 8, seed=3)
    for order in ORDERS:
        assert torch.equal(whole[order][2:], part[order])


def test_flat_maps_lose_random_pixels() -> None:
    ranks = _ranks(torch.zeros(2, 3, 3), range(2), 16, seed=0)["salient"]
    assert not torch.equal(ranks[0], ranks[1])
    assert not torch.equal(ranks[0], torch.arange(256))


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_occluded_images_lose_exactly_the_first_pixels(share: float) -> None:
    images = torch.ones(2, 3, 4, 5)
    ranks = torch.stack([torch.arange(20), 19 - torch.arange(20)])
    gone = occluded(images, ranks, share) == 0
    num = round(share * 20)
    assert gone[0, 0].flatten().tolist() == [True] * num + [False] * (20 - num)
    assert gone[1, 2].flatten().tolist() == [False] * (20 - num) + [True] * num
    assert (images == 1).all()


class _Colours(nn.Module):
    """Class k's logit is the mean of colour k, pooled from an 8x8 map of it."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.AvgPool2d(2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.features(images[:, :2]).mean((2, 3))
        return logits


def test_a_network_falls_with_its_salient_area_and_stands_without_the_rest() -> None:
    rng = np.random.default_rng(0)
    images = np.full((40, 16, 16, 3), 128, np.uint8)
    labels = np.arange(40) % 2
    for image, label in zip(images, labels, strict=True):
        y, x = rng.integers(0, 10, 2)
        image[y : y + 6, x : x + 6, label] = 255
        # Weaker evidence for the other class decides once the object is gone.
        image[(y + 8) % 16, :, 1 - label] = 200
    data = ArrayData(images, labels, ["red", "green"])
    built = BuiltNetwork(
        module=_Colours(), name="colours", num_classes=2, native_size=16, mean=(0.5,) * 3,
        std=(0.25,) * 3, weights_kind="random", weights_digest="",
    )  # fmt: skip
    measured = occlusion_robustness(
        built, data, size=16, device=torch.device("cpu"), bf16=False, target_layer="features",
        batch_size=16,
    )  # fmt: skip
    assert measured["shares"] == list(SHARES)
    assert measured["least"][-1] == 1.0
    assert measured["salient"][-1] < 0.5
    assert measured["salient"][-1] < measured["random"][-1]
    assert built.module.training


def test_a_run_measures_it_when_asked_and_shows_it(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    lines: list[str] = []
    recipe = tiny_recipe("train.epochs=1", "evaluate.occlusion=true", "augment.method=none")
    folder = train(recipe, TrainOptions(run=tmp_path / "run", log=lines.append))
    measured = json.loads(folder.summary_path.read_text())["occlusion"]
    assert all(0 <= value <= 1 for order in ORDERS for value in measured[order])
    assert "Accuracy on occluded test images" in folder.report_path.read_text()
    assert any(line.startswith("occlusion  erased") for line in lines)


def test_occlusion_without_test_images_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"evaluate\.occlusion = true needs test images"):
        load_recipe(None, ["evaluate.occlusion=true", "data.evaluate=false"])
