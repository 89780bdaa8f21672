"""Runs whose maps come out of their own training steps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cache_store.store import SaliencyStore
from cli.main import main
from pipeline.errors import NetworkError, RecipeError
from tests.training.later_runs import assert_equal_runs, column, maps_by_epoch, run_recipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.training.recipe import Recipe
    from pipeline.training.run_folder import RunFolder

    MakeRecipe = Callable[..., Recipe]

METHOD = "gradcam, harvested (decay 0.6, erased 0.5, mirrored 0.2, displaced 0.4)"
HARVEST = ("refresh.mode=harvest", "refresh.interval=0")


def _methods(folder: RunFolder) -> list[str]:
    store = SaliencyStore.open(folder.cache)
    return [store.generation(number).provenance.method for number in store.generations()]


def _digests(folder: RunFolder) -> list[str]:
    store = SaliencyStore.open(folder.cache)
    return [store.generation(number).digest for number in store.generations()]


@pytest.fixture
def harvested(tmp_path: Path, tiny_recipe: MakeRecipe) -> RunFolder:
    return run_recipe(tiny_recipe(*HARVEST), tmp_path / "run")


def test_each_epoch_draws_from_the_maps_of_the_one_before(harvested: RunFolder) -> None:
    assert column(harvested, "generation") == ["0", "1", "2", "3"]
    assert maps_by_epoch(harvested) == [None, 0, 1, 2]
    assert column(harvested, "refresh")[:3] == ["harvest"] * 3
    assert _methods(harvested) == [METHOD] * 3
    latest = SaliencyStore.open(harvested.cache).latest()
    maps = np.asarray(latest.saliency[:])
    assert (maps.max((1, 2)) == 255).mean() > 0.9
    assert 0 < latest.probabilities.min() <= latest.probabilities.max() <= 1
    assert latest.provenance.batch_size == 16
    assert 0.9 < latest.manifest.notes["coverage"] <= 1
    assert 0 <= latest.manifest.notes["age"] < 1
    assert float(column(harvested, "seconds_harvest")[0]) > 0
    state = torch.load(harvested.checkpoint_paths()[-1], weights_only=True)
    assert state["harvest"]["values"].shape == (len(maps), *maps.shape[1:])


def test_the_run_tells_what_the_harvest_costs(harvested: RunFolder) -> None:
    told = json.loads(harvested.summary_path.read_text())["overhead"]
    assert told["harvest"] > 0
    assert told["total"] == pytest.approx(told["loader"] + told["maps"] + told["harvest"])
    # It does not follow from R: there is no pass over the images.
    assert told["refresh"] is None
    assert told["by_interval"] == {}
    assert "harvest in the steps" in harvested.report_path.read_text()


def test_a_true_refresh_now_and_then_takes_the_place_of_what_was_seen(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    folder = run_recipe(tiny_recipe("refresh.mode=harvest"), tmp_path / "run")
    assert column(folder, "refresh")[:3] == ["harvest", "yes", "harvest"]
    assert _methods(folder) == [METHOD, "gradcam", METHOD]


def test_neither_workers_nor_who_sees_a_sample_change_the_maps(
    tmp_path: Path, harvested: RunFolder, tiny_recipe: MakeRecipe
) -> None:
    other = run_recipe(tiny_recipe(*HARVEST, "train.workers=2"), tmp_path / "other")
    assert_equal_runs(harvested, other)
    assert _digests(harvested) == _digests(other)


def test_the_run_learns_as_one_whose_maps_are_put_there_by_others(
    tmp_path: Path, harvested: RunFolder, tiny_recipe: MakeRecipe
) -> None:
    """Taking maps changes nothing about the first epoch, which draws from none."""
    plain = run_recipe(tiny_recipe("refresh.interval=0", "train.epochs=1"), tmp_path / "plain")
    once = run_recipe(tiny_recipe(*HARVEST, "train.epochs=1"), tmp_path / "once")
    assert_equal_weights(plain, once)
    assert column(plain, "train_loss") == column(once, "train_loss")


def assert_equal_weights(first: RunFolder, second: RunFolder) -> None:
    ours, theirs = (
        torch.load(folder.checkpoint_paths()[-1], weights_only=True)["model"]
        for folder in (first, second)
    )
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_a_second_stage_harvests_nothing(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    words = ("train.epochs=2", "second_stage.name=crt", "second_stage.epochs=2")
    folder = run_recipe(tiny_recipe(*HARVEST, *words), tmp_path / "run")
    assert maps_by_epoch(folder) == [None, 0, 0, 0]
    assert [float(seconds) > 0 for seconds in column(folder, "seconds_harvest")] == [
        True, True, False, False,
    ]  # fmt: skip


NETWORK_WITH_A_LONG_HEAD = """
from torch import nn

def build(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 8), nn.ReLU(),
        nn.Linear(8, num_classes),
    )
"""


def test_a_head_without_closed_form_needs_the_users_word(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    (tmp_path / "long.py").write_text(NETWORK_WITH_A_LONG_HEAD)
    words = (*HARVEST, f"network.name={tmp_path / 'long.py'}:build")
    with pytest.raises(NetworkError, match=r"harvest\.any_head must be true .* got false"):
        run_recipe(tiny_recipe(*words), tmp_path / "run")
    folder = run_recipe(tiny_recipe(*words, "harvest.any_head=true"), tmp_path / "other")
    assert _methods(folder) == [METHOD.replace(")", ", any head)")] * 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["harvest.decay=0.9"], r"harvest\.decay must be left out with refresh\.mode = 'pass'"),
        ([*HARVEST, "augment.method=cutmix"], r"refresh\.mode must be 'pass' with augment.method"),
        ([*HARVEST, "refresh.executor=dask"], r"executor must be 'inline' with mode = 'harvest'"),
        ([*HARVEST, "harvest.decay=1"], r"decay must be 0 or more and below 1, got 1"),
        ([*HARVEST, "harvest.erased=1.5"], r"erased must be between 0 and 1, got 1.5"),
    ],
)
def test_settings_that_make_no_sense_together_are_refused(
    tiny_recipe: MakeRecipe, words: list[str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        tiny_recipe(*words)


def test_recipes_without_harvest_keep_their_digest(tiny_recipe: MakeRecipe) -> None:
    assert "harvest" not in tiny_recipe().as_dict()
    assert "mode" not in tiny_recipe().as_dict()["refresh"]
    digests = {
        tiny_recipe(*words).digest()
        for words in ((), HARVEST[:1], HARVEST, (*HARVEST, "harvest.decay=0.2"))
    }
    assert len(digests) == 4


def test_harvested_maps_are_compared_and_described_like_others_but_not_computed_anew(
    harvested: RunFolder, image_folder: Path
) -> None:
    runner = CliRunner()
    cache = str(harvested.cache)
    shown = runner.invoke(main, ["cache", "info", cache])
    assert METHOD in shown.output
    assert "notes      age 0, coverage 0." in shown.output
    compared = runner.invoke(main, ["cache", "diff", f"{cache}@1", cache])
    assert compared.exit_code == 0
    assert "rank correlation" in compared.output
    shard = harvested.cache / "generations/000003/saliency/c/0/0/0"
    assert shard.is_file()
    shard.write_bytes(b"junk")
    repaired = runner.invoke(
        main,
        ["cache", "repair", cache, "--data", str(image_folder), "--weights",
         str(harvested.checkpoint_paths()[-1])],
    )  # fmt: skip
    assert repaired.exit_code == 1
    assert "harvested" in repaired.output
    assert "Traceback" not in repaired.output
