"""Choices that are each allowed and make no sense together: refused before anything runs."""

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RecipeError
from pipeline.training.second_stage_options import SCALED

if TYPE_CHECKING:
    from pipeline.training.recipe import Recipe


def check_combinations(recipe: "Recipe") -> None:
    """Refuse a recipe whose sections contradict each other.

    Raises:
        RecipeError: Naming both settings, why, and what to change.
    """
    _check_labels(recipe)
    _check_reweighting(recipe)
    _check_second_stage(recipe)
    _check_refresh(recipe)
    _check_harvest(recipe)
    if recipe.train.accumulate > 1 and recipe.loss.average == "weights":
        raise RecipeError(
            "loss.average = 'weights' divides by the sum of a batch's weights, and "
            f"train.accumulate = {recipe.train.accumulate} takes the mean over the samples of "
            "several batches: change one of them"
        )
    if recipe.evaluate.occlusion and not recipe.data.evaluate:
        raise RecipeError(
            "evaluate.occlusion = true needs test images, and data.evaluate = false says to use "
            "none: change one of them"
        )


def check_data(recipe: "Recipe", class_counts: NDArray[np.int64]) -> None:
    """Refuse a recipe that makes no sense for its training set.

    Args:
        recipe: The recipe.
        class_counts: (K,) training images of each class.

    Raises:
        RecipeError: Naming the setting, why, and what to change.
    """
    low, high = int(class_counts.min()), int(class_counts.max())
    if recipe.second_stage.name == "mislas" and low == high:
        raise RecipeError(
            "second_stage.name = 'mislas' smooths labels by class size, and all classes have "
            f"{high} training images: use long-tailed data (data.imbalance), or 'crt'"
        )
    if recipe.evaluate.top5 == "yes" and len(class_counts) <= 5:
        raise RecipeError(
            f"evaluate.top5 = 'yes' must come with more than 5 classes, got {len(class_counts)}: "
            "every answer would be right"
        )


def _check_labels(recipe: "Recipe") -> None:
    why, source = recipe.loss.integers_why, recipe.soft_labels
    if why is not None and source is not None:
        raise RecipeError(
            f"loss.name = {recipe.loss.name!r} needs integer labels ({why}), and {source} makes "
            "labels shares of several classes: change one of them"
        )


def _check_reweighting(recipe: "Recipe") -> None:
    begin = recipe.loss.reweight_from(recipe.train.epochs)
    if begin is not None and begin >= recipe.train.epochs:
        raise RecipeError(
            f"loss.reweighting_epoch must be before the end of train.epochs = "
            f"{recipe.train.epochs}, got {begin}: the weights would never hold"
        )


def _check_refresh(recipe: "Recipe") -> None:
    refresh, keep = recipe.refresh, recipe.train.keep_checkpoints
    if refresh.executor == "external" and keep <= refresh.lag:
        raise RecipeError(
            f"train.keep_checkpoints must be above refresh.lag = {refresh.lag} with "
            f"refresh.executor = 'external', got {keep}: the watcher would find no checkpoint to "
            "make the maps from that training waits for"
        )


def _check_harvest(recipe: "Recipe") -> None:
    if recipe.refresh.mode == "pass":
        for item in fields(recipe.harvest):
            if getattr(recipe.harvest, item.name) != item.default:
                raise RecipeError(
                    f"harvest.{item.name} must be left out with refresh.mode = 'pass', where it "
                    "would do nothing: set refresh.mode = 'harvest'"
                )
    elif not recipe.augment.reads_maps:
        raise RecipeError(
            f"refresh.mode must be 'pass' with augment.method = {recipe.augment.name!r} as it is "
            "set, which reads no maps, got 'harvest'"
        )


def _check_second_stage(recipe: "Recipe") -> None:
    second, normalised = recipe.second_stage, recipe.loss.name == "ldam"
    mixing = recipe.mixing or recipe.soft_labels
    if second.augment and second.name == "mislas" and mixing is not None:
        raise RecipeError(
            "second_stage.augment = true must come without mixing in second stage 'mislas', whose "
            f"label-aware smoothing needs images of one class, got {mixing}: switch one of them off"
        )
    if normalised and second.name in (*SCALED, "tau-norm"):
        raise RecipeError(
            f"second_stage.name = {second.name!r} changes the norms of the head's weights, which "
            "loss.name = 'ldam' with its normalised head does without: use 'crt', or another loss"
        )
