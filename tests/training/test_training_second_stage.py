"""Second stages train what they should and nothing else, resume exactly, and leave one network."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import RecipeError, Stopped
from pipeline.saliency.networks import build_network
from pipeline.training.class_aware import ClassAware
from pipeline.training.logit_scaling import LogitScaling
from pipeline.training.recipe_file import load_recipe
from pipeline.training.run_folder import RunFolder
from pipeline.training.second_stage import half_cosine, second_stage
from pipeline.training.setup import build_parts
from pipeline.training.trainer import TrainOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.training.recipe import Recipe

    MakeRecipe = Callable[..., Recipe]

SHORT = ("train.epochs=1", "second_stage.epochs=2", "augment.method=none")


def _run(recipe: Recipe, run: Path, **options: Any) -> RunFolder:  # noqa: ANN401
    return train(recipe, TrainOptions(run=run, log=lambda _line: None, **options))


def _state(folder: RunFolder, epoch: int) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder.checkpoint_path(epoch), weights_only=True)
    return state


def test_class_aware_order_takes_four_in_a_row_and_goes_round_evenly() -> None:
    labels = np.repeat([0, 1, 2], [50, 9, 1])
    order = ClassAware(labels, 4)
    rows = order.draw(np.random.default_rng(0))
    assert len(rows) == len(order) == 60
    turns = labels[rows].reshape(-1, 4)
    assert (turns == turns[:, :1]).all()
    for start in range(0, 15, 3):
        assert sorted(turns[start : start + 3, 0]) == [0, 1, 2]
    # Twenty places of the class of nine: all of it twice, before two of it come a third time.
    often = np.bincount(rows, minlength=60)
    assert sorted(often[50:59]) == [2] * 7 + [3] * 2
    assert often[:50].max() == 1
    assert often[59] == 20


def test_class_aware_order_is_a_function_of_its_generator() -> None:
    order = ClassAware(np.arange(10) % 3, 4)
    first, again, other = (order.draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()


def test_factors_multiply_logits_bias_included_and_fold_into_the_head() -> None:
    head = nn.Linear(2, 3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 2.0], [0.0, -1.0], [0.5, 0.0]]))
        head.bias.copy_(torch.tensor([0.5, 1.0, -1.0]))
    scaling = LogitScaling(head)
    features = torch.tensor([[2.0, 3.0]])
    torch.testing.assert_close(scaling(head(features)), torch.tensor([[8.5, -2.0, 0.0]]))
    with torch.no_grad():
        scaling.factors_K.copy_(torch.tensor([0.1, 2.0, -3.0]))
    by_hand = torch.tensor([[0.1 * 8.5, 2 * -2.0, 0.0]])
    torch.testing.assert_close(scaling(head(features)), by_hand)
    before = head.weight.clone()
    with scaling.folded():
        torch.testing.assert_close(head(features), by_hand)
    assert torch.equal(head.weight, before)
    with pytest.raises(ZeroDivisionError), scaling.folded():
        1 / 0  # noqa: B018
    assert torch.equal(head.weight, before)


def test_lws_gradient_is_the_logit_times_the_losses_gradient() -> None:
    head = nn.Linear(2, 2)
    scaling = LogitScaling(head)
    logits = torch.tensor([[2.0, -1.0]])
    loss = nn.functional.cross_entropy(scaling(logits), torch.tensor([0]))
    (gradient,) = torch.autograd.grad(loss, scaling.factors_K)
    wrong = 1 / (1 + np.exp(3.0))  # probability of class 1
    assert gradient.tolist() == pytest.approx([-wrong * 2.0, wrong * -1.0])


def test_half_cosine_is_mislas_schedule() -> None:
    rates = [half_cosine(0.1, epoch / 10) for epoch in range(10)]
    expected = [0.05 * (1 + np.cos(np.pi * epoch / 10)) for epoch in range(10)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(("name", "head_moves"), [("crt", True), ("lws", False), ("mislas", True)])
def test_second_stage_trains_head_or_factors_alone(
    tmp_path: Path,
    tiny_recipe: MakeRecipe,
    name: str,
    head_moves: bool,  # noqa: FBT001
) -> None:
    recipe = tiny_recipe(*SHORT, f"second_stage.name={name}", "train.keep_checkpoints=9")
    folder = _run(recipe, tmp_path / "run")
    before, after = _state(folder, 0), _state(folder, 2)
    frozen = [key for key in before["model"] if not key.startswith("linear.")]
    moved = {key for key in frozen if not torch.equal(before["model"][key], after["model"][key])}
    # Shifted BatchNorm: statistics drift, weights do not.
    assert moved == {key for key in frozen if "running" in key or "num_batches" in key}
    plain = after["stage"] or {
        f"head.{k[7:]}": v for k, v in after["model"].items() if "linear" in k
    }
    same = torch.equal(plain["head.weight"], before["model"]["linear.weight"])
    assert same is not head_moves
    if name != "crt":
        factors = after["stage"]["factors_K"]
        assert not torch.equal(factors, torch.ones(3))
        expected = factors[:, None] * plain["head.weight"]
        torch.testing.assert_close(after["model"]["linear.weight"], expected, rtol=0, atol=0)
        bias = after["model"]["linear.bias"]
        torch.testing.assert_close(bias, factors * plain["head.bias"], rtol=0, atol=0)


def test_without_shifted_batchnorm_the_backbone_stays_to_the_bit(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    recipe = tiny_recipe(*SHORT, "second_stage.name=crt", "second_stage.shifted_bn=false",
                         "train.keep_checkpoints=9")  # fmt: skip
    folder = _run(recipe, tmp_path / "run")
    before, after = _state(folder, 0)["model"], _state(folder, 2)["model"]
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"linear.weight", "linear.bias"}


def test_epochs_of_both_stages_are_in_the_metrics_and_the_checkpoint_is_what_was_measured(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    recipe = tiny_recipe(*SHORT, "second_stage.name=mislas")
    folder = _run(recipe, tmp_path / "run")
    rows = list(csv.DictReader(folder.metrics_path.read_text().splitlines()))
    assert [row["stage"] for row in rows] == ["1", "2", "2"]
    assert [float(row["lr"]) for row in rows] == pytest.approx([0.1, 0.1, 0.05])
    assert rows[-1]["refresh"] == "no: second stage"
    summary = json.loads(folder.summary_path.read_text())
    assert summary["top1"] == float(rows[-1]["test_top1"])
    assert summary["ece"] == float(rows[-1]["test_ece"])
    # As `--weights` reads it, the checkpoint is the network with the factors folded in.
    path = folder.checkpoint_paths()[-1]
    built = build_network("resnet8", num_classes=3, weights=path)
    parts = build_parts(recipe, tmp_path / "other.zarr")
    from pipeline.training.evaluation import evaluate_run

    parts.built.module.load_state_dict(built.module.state_dict())
    evaluated = evaluate_run(parts)
    assert evaluated is not None
    assert evaluated[0].loss == pytest.approx(float(rows[-1]["test_loss"]))


@pytest.mark.parametrize("name", ["crt", "mislas"])
def test_stopped_inside_a_second_stage_and_resumed_equals_undisturbed_to_the_bit(
    tmp_path: Path, tiny_recipe: MakeRecipe, name: str
) -> None:
    recipe = tiny_recipe("train.epochs=2", "refresh.interval=1", "second_stage.epochs=2",
                         f"second_stage.name={name}")  # fmt: skip
    whole = _run(recipe, tmp_path / "whole")
    steps = iter(range(1000))  # of the second epoch of the second stage

    def stop() -> bool:
        return RunFolder(tmp_path / "parts").checkpoint_path(2).is_file() and next(steps) == 1

    with pytest.raises(Stopped, match="in epoch 3 after batch 2 of 3"):
        _run(recipe, tmp_path / "parts", stop=stop)
    resumed = _run(recipe, tmp_path / "parts", resume=True)
    ours, theirs = _state(whole, 3), _state(resumed, 3)
    for part in ("model", "stage"):
        assert ours[part].keys() == theirs[part].keys()
        assert all(torch.equal(ours[part][key], theirs[part][key]) for key in ours[part])
    timed = ("seconds", "images_per_second")
    for mine, other in zip(json.loads(ours["rows"]), json.loads(theirs["rows"]), strict=True):
        assert {k: v for k, v in mine.items() if not k.startswith(timed)} == {
            k: v for k, v in other.items() if not k.startswith(timed)
        }


def test_crt_begins_with_a_new_head_that_the_seed_decides(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    weights = []
    for seed in (0, 0, 1):
        recipe = tiny_recipe("second_stage.name=crt", f"seed={seed}")
        parts = build_parts(recipe, tmp_path / "maps.zarr")
        state = torch.get_rng_state()
        before = parts.built.module.get_parameter("linear.weight").detach().clone()
        second_stage(parts)
        assert torch.equal(torch.get_rng_state(), state)
        weights.append(parts.built.module.get_parameter("linear.weight").detach().clone())
        assert not torch.equal(weights[-1], before)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_augmented_second_stage_erases_as_the_first_one_ended(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    recipe = tiny_recipe("second_stage.name=crt", "second_stage.augment=true", "train.epochs=4")
    stage = second_stage(build_parts(recipe, tmp_path / "maps.zarr"))
    assert [stage.lam(epoch) for epoch in (4, 13)] == [8.0 * 3 / 4] * 2
    assert stage.loader.dataset.method is not None
    plain = second_stage(build_parts(tiny_recipe("second_stage.name=crt"), tmp_path / "maps.zarr"))
    assert plain.loader.dataset.method is None


def test_ldam_goes_with_a_new_head_of_its_kind(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    recipe = tiny_recipe(
        "loss.name=ldam", "network.options.normed_head=true", "second_stage.name=crt"
    )
    parts = build_parts(recipe, tmp_path / "maps.zarr")
    stage = second_stage(parts)
    cosines = torch.tensor([[0.5, 0.1, -0.2]])
    expected = nn.functional.cross_entropy(30 * cosines, torch.tensor([1]))
    torch.testing.assert_close(stage.objective(cosines, torch.tensor([1]), 5), expected)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param(
            ["second_stage.name=mislas", "second_stage.augment=true"],
            "must come without mixing in second stage 'mislas'.*got augment.beta > 0",
            id="mixup-in-mislas",
        ),
        pytest.param(
            ["second_stage.name=mislas", "loss.name=ldam", "network.options.normed_head=true"],
            "'mislas' changes the norms of the head's weights, which loss.name = 'ldam'",
            id="norms-of-normalised",
        ),
        pytest.param(
            ["second_stage.name=crt", "second_stage.smoothing_head=0.3"],
            "smoothing_head must be left out with second stage 'crt'.*belongs to mislas",
            id="unused",
        ),
        pytest.param(
            ["second_stage.epochs=3"], "epochs must be left out with second stage 'none'", id="none"
        ),
        pytest.param(
            ["second_stage.name=crt", "second_stage.lr=0"], "lr must be above 0, got 0.0", id="lr"
        ),
    ],
)
def test_second_stages_that_make_no_sense_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(None, overrides)


def test_label_aware_smoothing_of_balanced_data_is_refused(tmp_path: Path) -> None:
    recipe = load_recipe(None, ["second_stage.name=mislas", "data.imbalance=1", "data.classes=2"])
    with pytest.raises(
        RecipeError, match=r"'mislas' smooths labels by class size, and all classes"
    ):
        build_parts(recipe, tmp_path / "maps.zarr")
