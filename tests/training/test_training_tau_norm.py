"""tau-norm by hand, and that no tau is ever chosen on the test images."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from loaders.errors import OptionError
from loaders.holdout import holdout_rows
from pipeline.errors import RecipeError
from pipeline.saliency.networks import build_network
from pipeline.training.evaluation import evaluate_run
from pipeline.training.recipe_file import load_recipe
from pipeline.training.setup import build_parts
from pipeline.training.tau_norm import TAUS, apply_tau_norm, tau_normalised
from pipeline.training.trainer import TrainOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.training.recipe import Recipe

    MakeRecipe = Callable[..., Recipe]


def test_rows_are_divided_by_the_power_of_their_norm() -> None:
    weight = torch.tensor([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]])
    torch.testing.assert_close(tau_normalised(weight, 0.0), weight)
    torch.testing.assert_close(
        tau_normalised(weight, 1.0), torch.tensor([[0.6, 0.8], [0.0, 1.0], [0.0, 0.0]])
    )
    torch.testing.assert_close(tau_normalised(weight, 2.0)[0], torch.tensor([3 / 25, 4 / 25]))
    torch.testing.assert_close(tau_normalised(weight, 0.5)[1], torch.tensor([0.0, 2 / 2**0.5]))


def test_the_grid_is_the_published_one() -> None:
    np.testing.assert_allclose(TAUS, np.linspace(0, 2, 21))


def test_without_a_way_to_choose_the_network_stays_and_the_curve_is_reported(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    parts = build_parts(tiny_recipe("second_stage.name=tau-norm"), tmp_path / "maps.zarr")
    before = {key: value.clone() for key, value in parts.built.module.state_dict().items()}
    outcome = apply_tau_norm(parts, lambda _line: None)
    assert outcome["tau"] is None
    assert [point["tau"] for point in outcome["curve"]] == list(TAUS)
    assert all(torch.equal(v, before[k]) for k, v in parts.built.module.state_dict().items())


def test_a_given_tau_is_applied_and_measures_as_its_point_of_the_curve(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    recipe = tiny_recipe("second_stage.name=tau-norm", "second_stage.tau=1.5")
    parts = build_parts(recipe, tmp_path / "maps.zarr")
    head = parts.built.module.get_submodule("linear")
    with torch.no_grad():
        head.get_parameter("bias").copy_(torch.tensor([5.0, 0.0, -5.0]))
    expected = tau_normalised(head.get_parameter("weight").detach().clone(), 1.5)
    outcome = apply_tau_norm(parts, lambda _line: None)
    torch.testing.assert_close(head.get_parameter("weight").detach(), expected)
    assert head.get_parameter("bias").tolist() == [0, 0, 0]
    evaluated = evaluate_run(parts)
    assert evaluated is not None
    assert evaluated[0].top1 == outcome["curve"][15]["top1"]
    assert outcome["chosen_by"] == "recipe"


def test_a_run_chooses_tau_on_images_it_has_not_trained_on_and_leaves_the_weights(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    recipe = tiny_recipe("train.epochs=2", "refresh.interval=1", "second_stage.name=tau-norm",
                         "second_stage.holdout=0.25")  # fmt: skip
    parts = build_parts(recipe, tmp_path / "maps.zarr")
    assert parts.train_data.class_counts.tolist() == [18, 9, 3]
    folder = train(recipe, TrainOptions(run=tmp_path / "run", log=lambda _line: None))
    outcome = json.loads(folder.summary_path.read_text())["tau_norm"]
    assert outcome["chosen_by"] == "holdout"
    assert outcome["tau"] in TAUS
    assert "by τ of the head" in folder.report_path.read_text()
    built = build_network("resnet8", num_classes=3, weights=folder.weights_path)
    assert built.module.get_parameter("linear.bias").tolist() == [0, 0, 0]
    # A refresh in another process sees the same images as the training.
    assert parts.data_source.open().fingerprint == parts.train_data.fingerprint


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param(
            ["second_stage.name=tau-norm", "second_stage.tau=1.0", "second_stage.holdout=0.1"],
            "tau and holdout both choose the exponent",
            id="two-choices",
        ),
        pytest.param(
            ["second_stage.name=tau-norm", "second_stage.epochs=3"],
            "epochs must be left out with second stage 'tau-norm'",
            id="no-training",
        ),
        pytest.param(
            ["second_stage.name=tau-norm", "loss.name=ldam"], "changes the norms", id="ldam"
        ),
        pytest.param(
            ["second_stage.name=tau-norm", "second_stage.holdout=0.7"],
            r"holdout must be in \[0, 0.5\], got 0.7",
            id="too-much",
        ),
    ],
)
def test_tau_norms_that_make_no_sense_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(None, overrides)


def test_holdout_takes_its_share_of_each_class_and_never_all() -> None:
    labels = np.repeat([0, 1, 2, 3], [40, 8, 2, 1])
    kept, held = holdout_rows(labels, 0.25)
    assert np.bincount(labels[held], minlength=4).tolist() == [10, 2, 1, 0]
    assert sorted([*kept, *held]) == list(range(51))
    assert holdout_rows(labels, 0.25)[1].tolist() == held.tolist()
    assert holdout_rows(labels, 0.25, seed=1)[1].tolist() != held.tolist()


def test_holdout_refuses_what_it_cannot_split() -> None:
    with pytest.raises(OptionError, match="no class has 2 samples"):
        holdout_rows(np.arange(5), 0.2)
    with pytest.raises(OptionError, match=r"in \(0, 1\), got 1.0"):
        holdout_rows(np.zeros(5, np.int64), 1.0)
