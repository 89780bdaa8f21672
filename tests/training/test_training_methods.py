"""Every method of a recipe trains, and is refused where it makes no sense."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest

from loaders.errors import OptionError
from loaders.methods.registry import METHODS
from pipeline.errors import RecipeError
from pipeline.training.refresh_step import refresh_policy
from pipeline.training.trainer import TrainOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.training.recipe import Recipe

    MakeRecipe = Callable[..., Recipe]

CASES: dict[str, list[str]] = {
    "none": ["augment.method=none"],
    "scae": ["augment.method=scae"],
    "scae-randaugment": ["data.auto_augment=randaugment"],
    "scae-autoaugment": ["data.auto_augment=autoaugment"],
    "scae-trivialaugment": ["data.auto_augment=trivialaugment"],
    "scae-permuted": ["augment.maps=permuted"],
    "scae-protective": ["augment.lambda_max=-8.0"],
    "random_erasing": ["augment.method=random_erasing"],
    "cutout": ["augment.method=cutout"],
    "grid_mask": [
        "augment.method=grid_mask", "augment.period=[6, 12]", "augment.ramp_epochs=0",
    ],
    "mixup": ["augment.method=mixup"],
    "cutmix": ["augment.method=cutmix", "augment.prob=1"],
    "saliencymix": ["augment.method=saliencymix", "augment.saliency=maps", "augment.prob=1"],
    "keepaugment": ["augment.method=keepaugment", "augment.length=5"],
    "keepaugment-paste": [
        "augment.method=keepaugment", "augment.length=5", "augment.mode=paste",
    ],
    "keepaugment-maps": [
        "augment.method=keepaugment", "augment.length=5", "augment.saliency=maps",
    ],
}  # fmt: skip


def _rows(path: Path) -> list[dict[str, str]]:
    with (path / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_method_has_a_case_here() -> None:
    assert {name.partition("-")[0] for name in CASES} == set(METHODS)


@pytest.mark.parametrize("case", CASES)
def test_methods_train_and_say_what_they_did(
    tmp_path: Path, tiny_recipe: MakeRecipe, case: str
) -> None:
    recipe = tiny_recipe(
        "train.epochs=2", "refresh.interval=1", "data.evaluate=false", *CASES[case]
    )
    quiet = TrainOptions(run=tmp_path / "run", log=lambda _line: None)
    train(recipe, quiet)
    rows = _rows(tmp_path / "run")
    erasing = case.startswith(("scae", "random", "cutout", "grid")) or (
        case in ("keepaugment", "keepaugment-maps")
    )
    assert (float(rows[1]["erased"]) > 0) == erasing
    assert (float(rows[1]["erased_pixels"]) > 0) == erasing
    soft = case in ("mixup", "cutmix", "saliencymix")
    assert (float(rows[1]["mixed"]) > 0) == soft or case.startswith("scae")
    assert all((row["train_top1"] == "") == soft for row in rows)
    reading = case.startswith("scae") or case in ("saliencymix", "keepaugment-maps")
    assert [int(row["generation"]) for row in rows] == [0, int(reading)]


def test_methods_that_need_maps_are_refused_where_none_will_come(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    recipe = tiny_recipe(*CASES["saliencymix"], "refresh.interval=0")
    with pytest.raises(RecipeError, match=r"'saliencymix' takes its places .*refresh.interval = 0"):
        train(recipe, TrainOptions(run=tmp_path / "run", log=lambda _line: None))


def test_options_that_do_not_fit_the_image_are_refused_before_training(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    recipe = tiny_recipe("augment.method=grid_mask")
    with pytest.raises(OptionError, match=r"period of grid_mask .* 16 pixels, got up to 32"):
        train(recipe, TrainOptions(run=tmp_path / "run", log=lambda _line: None))


@pytest.mark.parametrize("name", ["mixup", "cutmix", "saliencymix"])
def test_losses_that_need_integers_refuse_mixing(tiny_recipe: MakeRecipe, name: str) -> None:
    words = [f"augment.method={name}", "loss.name=ldam"]
    with pytest.raises(RecipeError, match=f"needs integer labels .*augment.method = '{name}'"):
        tiny_recipe(*words, "network.options.normed_head=true")


def test_mislas_refuses_mixing_in_its_second_stage(tiny_recipe: MakeRecipe) -> None:
    words = ["augment.method=mixup", "second_stage.name=mislas"]
    tiny_recipe(*words)
    with pytest.raises(RecipeError, match=r"without mixing in second stage 'mislas'.*'mixup'"):
        tiny_recipe(*words, "second_stage.augment=true")


def test_maps_are_made_anew_only_for_methods_that_read_them(tiny_recipe: MakeRecipe) -> None:
    assert refresh_policy(tiny_recipe("augment.method=cutmix")).epochs() == ()
    assert refresh_policy(tiny_recipe("augment.maps=mask")).epochs() == ()
    assert refresh_policy(tiny_recipe(*CASES["keepaugment-maps"])).epochs() == (1,)
    assert refresh_policy(tiny_recipe()).epochs() == (1,)
