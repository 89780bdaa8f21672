"""Choices that make no sense together are refused before anything runs, saying why."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest

from loaders.batches import NO_GENERATION
from pipeline.errors import NetworkError, RecipeError
from pipeline.training.epoch import train_epoch
from pipeline.training.epoch_sums import EpochSums
from pipeline.training.first_stage import first_stage
from pipeline.training.losses.options import LossName
from pipeline.training.pauses import Pauses
from pipeline.training.ranks import ALONE
from pipeline.training.recipe_file import load_recipe
from pipeline.training.second_stage import second_stage
from pipeline.training.second_stage_options import SecondStageName
from pipeline.training.setup import build_parts
from pipeline.training.tau_norm import apply_tau_norm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.training.recipe import Recipe

    MakeRecipe = Callable[..., Recipe]

NO_NORMS = ("none", "crt")
"""Second stages that leave the norms of the head's rows alone."""
SOFT = "augment.partner=neighbor"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param(
            ["loss.name=ldam", SOFT],
            r"'ldam' needs integer labels \(its margin .*, and augment.partner = \"neighbor\" ma",
            id="ldam-soft",
        ),
        pytest.param(["loss.name=focal", SOFT], "'focal' needs integer labels", id="focal-soft"),
        pytest.param(
            ["loss.name=class-balanced", SOFT], "needs integer labels .its weight", id="cb-soft"
        ),
        pytest.param(
            ["loss.smoothing=0.2"],
            r"\[loss\] smoothing must be left out with loss 'cross-entropy', where it would do "
            "nothing: it belongs to label-smoothing",
            id="unused-smoothing",
        ),
        pytest.param(
            ["loss.name=focal", "loss.deferred_reweighting=true"],
            "it belongs to class-balanced, class-balanced-focal, ldam",
            id="nothing-to-defer",
        ),
        pytest.param(
            ["loss.name=ldam", "loss.reweighting_epoch=3"],
            "reweighting_epoch must come with deferred_reweighting",
            id="epoch-alone",
        ),
        pytest.param(
            ["train.epochs=5", "loss.name=ldam", "loss.deferred_reweighting=true",
             "loss.reweighting_epoch=5"],
            "must be before the end of train.epochs = 5, got 5",
            id="deferred-for-ever",
        ),
        pytest.param(["loss.name=hinge"], "loss.name must be one of cross-entropy, ", id="word"),
        pytest.param(
            ["loss.name=class-balanced", "loss.cb_beta=1.0"],
            r"cb_beta must be in \[0, 1\), got 1.0",
            id="beta",
        ),
        pytest.param(
            ["loss.name=focal", "loss.gamma=-1"], "gamma must be 0 or more, got -1.0", id="gamma"
        ),
    ],
)  # fmt: skip
def test_recipes_that_contradict_themselves_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(None, overrides)


@pytest.mark.parametrize("name", ["cross-entropy", "label-smoothing", "balanced-softmax"])
def test_losses_of_probabilities_take_soft_labels(name: str) -> None:
    assert load_recipe(None, [f"loss.name={name}", SOFT]).soft_labels is not None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param(
            ["loss.name=ldam"],
            "needs a network with a normalised head.*network.options.normed_head = true",
            id="ldam-linear-head",
        ),
        pytest.param(
            ["network.options.normed_head=true"],
            "cosines are too small to be logits for loss.name = 'cross-entropy'",
            id="cosines-as-logits",
        ),
        pytest.param(
            ["evaluate.top5=yes"],
            "evaluate.top5 = 'yes' must come with more than 5 classes, got 3",
            id="top5-of-3",
        ),
        pytest.param(
            ["network.name=torchvision:squeezenet1_1", "loss.name=focal", "data.size=32"],
            "must end in a linear layer of 3 classes .*got classifier.1",
            id="convolution-as-head",
        ),
    ],
)
def test_what_network_and_data_do_not_allow_is_refused(
    tmp_path: Path, tiny_recipe: MakeRecipe, overrides: list[str], message: str
) -> None:
    with pytest.raises((RecipeError, NetworkError), match=message):
        build_parts(tiny_recipe(*overrides), tmp_path / "maps.zarr")


def test_focal_losses_begin_with_rare_classes(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    parts = build_parts(tiny_recipe("loss.name=class-balanced-focal"), tmp_path / "maps.zarr")
    bias = parts.built.module.get_parameter("linear.bias")
    assert bias.sigmoid().tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("loss", get_args(LossName))
def test_every_loss_goes_with_every_second_stage_and_with_erasing_or_none(
    tmp_path: Path, tiny_recipe: MakeRecipe, loss: str
) -> None:
    head = ["network.options.normed_head=true"] if loss == "ldam" else []
    stages = [name for name in get_args(SecondStageName) if loss != "ldam" or name in NO_NORMS]
    for number, name in enumerate(stages):
        erasing = ("none", "scae")[number % 2]
        words = [f"loss.name={loss}", f"second_stage.name={name}", f"augment.method={erasing}"]
        recipe = tiny_recipe(*words, *head, "train.batch_size=40")
        parts = build_parts(recipe, tmp_path / "maps.zarr")
        for make in (first_stage, second_stage)[: 1 + (recipe.num_epochs > recipe.train.epochs)]:
            stage = make(parts)
            epoch = stage.epochs.start
            stage.begin_epoch(epoch)
            stage.loader.set_epoch(epoch, NO_GENERATION)
            sums = EpochSums()
            pauses = Pauses(ALONE, lambda: False, 0.0, lambda: None)
            train_epoch(parts, stage, epoch, sums, pauses, lambda _done, _total: None)
            assert np.isfinite(sums.loss)
        if name == "tau-norm":
            assert len(apply_tau_norm(parts, lambda _line: None)["curve"]) == 21
