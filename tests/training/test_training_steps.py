"""Steps of several batches, weight decay by parameter, moving averages, losses not finite."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import RecipeError, TrainingError
from pipeline.training import epoch as epoch_loop
from pipeline.training.decay_groups import decay_groups
from pipeline.training.epoch import batch_shares
from pipeline.training.run_folder import RunFolder
from pipeline.training.stage import Stage
from pipeline.training.trainer import TrainOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.training.recipe import Recipe

    MakeRecipe = Callable[..., Recipe]

NETWORK_WITHOUT_NORM = """
from torch import nn

def build(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, num_classes),
    )
"""
PLAIN = ("augment.method=none", "train.epochs=2", "train.lr=0.05")


def _run(recipe: Recipe, run: Path, **options: Any) -> RunFolder:  # noqa: ANN401
    return train(recipe, TrainOptions(run=run, log=lambda _line: None, **options))


def _weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    state = torch.load(folder.checkpoint_paths()[-1], weights_only=True)
    weights: dict[str, torch.Tensor] = state["model"]
    return weights


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "whole"),
    [
        (8, 2, 16),  # 40 samples: the last step has one batch of 8
        (12, 2, 24),  # the last step has batches of 12 and 4
        (7, 9, 63),  # one step an epoch, of fewer batches than asked for
    ],
)
def test_accumulated_batches_equal_one_big_batch(
    tmp_path: Path, tiny_recipe: MakeRecipe, batch_size: int, accumulate: int, whole: int
) -> None:
    (tmp_path / "plain.py").write_text(NETWORK_WITHOUT_NORM)
    network = f"network.name={tmp_path / 'plain.py'}:build"
    parts = tiny_recipe(
        *PLAIN, network, f"train.batch_size={batch_size}", f"train.accumulate={accumulate}"
    )
    big = tiny_recipe(*PLAIN, network, f"train.batch_size={whole}")
    ours, theirs = _weights(_run(parts, tmp_path / "a")), _weights(_run(big, tmp_path / "b"))
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-6)
    alone = _weights(_run(tiny_recipe(*PLAIN, network, f"train.batch_size={batch_size}"),
                          tmp_path / "c"))  # fmt: skip
    assert not torch.allclose(alone["0.weight"], ours["0.weight"], rtol=1e-3)


def test_shares_of_batches_are_by_samples_of_their_step() -> None:
    assert batch_shares(np.array([0, 12, 24, 36, 40]), 2) == [0.5, 0.5, 0.75, 0.25]
    assert batch_shares(np.array([0, 3, 6, 8]), 5) == [0.375, 0.375, 0.25]
    assert batch_shares(np.array([0, 16, 32, 40]), 1) == [1.0, 1.0, 1.0]


def test_accumulation_is_refused_where_a_loss_divides_by_weights(tiny_recipe: MakeRecipe) -> None:
    with pytest.raises(RecipeError, match=r"loss.average = 'weights'.*train.accumulate = 2"):
        tiny_recipe("train.accumulate=2", "loss.name=class-balanced", "loss.average=weights")


def test_weight_decay_spares_norm_weights_and_biases_alone(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    groups = decay_groups(network, everywhere=False)
    optimizer = torch.optim.SGD(groups, lr=0.5, weight_decay=0.1)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in network.named_parameters():  # w - 0.5 * 0.1 * w
        factor = 0.95 if name in {"0.weight", "3.weight"} else 1.0
        torch.testing.assert_close(value, before[name] * factor)
    spared = _weights(_run(tiny_recipe(*PLAIN, "train.decay_norm_bias=false"), tmp_path / "a"))
    usual = _weights(_run(tiny_recipe(*PLAIN), tmp_path / "b"))
    assert not torch.equal(spared["bn1.weight"], usual["bn1.weight"])


def test_average_of_weights_is_evaluated_and_kept_and_resumes(
    tmp_path: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    update = Stage.update

    def recording(stage: Stage) -> None:
        update(stage)
        seen.append({key: value.clone() for key, value in stage.network.state_dict().items()})

    monkeypatch.setattr(Stage, "update", recording)
    recipe = tiny_recipe("train.ema=0.75", "refresh.interval=1")
    folder = _run(recipe, tmp_path / "run")
    expected = {name: value.double() for name, value in seen[0].items()}
    for state in seen[1:]:
        expected = {name: 0.75 * value + 0.25 * state[name] for name, value in expected.items()}
    final = torch.load(folder.weights_path, weights_only=True)
    for name, value in final.items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-4, atol=1e-6)
    summary = json.loads(folder.summary_path.read_text())  # measured with the final weights
    with folder.metrics_path.open() as file:
        last_row = list(csv.DictReader(file))[-1]
    assert float(last_row["test_ece"]) == summary["ece"]
    newest = _weights(folder)
    assert all(torch.equal(value, seen[-1][name]) for name, value in newest.items())
    folder.checkpoint_paths()[-1].unlink()  # as if it had been killed in the last epoch
    final_again = torch.load(
        _run(recipe, tmp_path / "run", resume=True).weights_path, weights_only=True
    )
    assert all(torch.equal(value, final[name]) for name, value in final_again.items())


def test_second_stage_begins_with_the_average(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    recipe = tiny_recipe(
        *PLAIN, "train.ema=0.9", "second_stage.name=crt", "second_stage.epochs=1",
        "second_stage.shifted_bn=false", "refresh.interval=0", "train.keep_checkpoints=9",
    )  # fmt: skip
    folder = _run(recipe, tmp_path / "run")
    first, last = (torch.load(folder.checkpoint_path(epoch), weights_only=True) for epoch in (1, 2))
    for name, value in last["model"].items():
        if not name.startswith("linear") and value.is_floating_point():
            assert torch.equal(value, first["stage"][f"module.{name}"]), name
    assert not folder.weights_path.exists()


def test_new_keys_at_their_defaults_leave_the_digest_of_recorded_runs(
    tiny_recipe: MakeRecipe,
) -> None:
    plain = tiny_recipe()
    assert not {"accumulate", "decay_norm_bias", "ema"} & set(plain.as_dict()["train"])
    changes = ("train.accumulate=2", "train.decay_norm_bias=false", "train.ema=0.5")
    digests = {plain.digest(), *(tiny_recipe(change).digest() for change in changes)}
    assert len(digests) == 4


@pytest.mark.parametrize("word", ["train.accumulate=0", "train.ema=1.0", "train.ema=-0.1"])
def test_values_out_of_range_are_refused(tiny_recipe: MakeRecipe, word: str) -> None:
    with pytest.raises(RecipeError, match=word.split("=")[0].split(".")[1]):
        tiny_recipe(word)


def test_loss_that_is_not_finite_names_rows_and_leaves_the_checkpoint_before(
    tmp_path: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(*PLAIN)
    whole = _weights(_run(recipe, tmp_path / "whole"))
    real, batches = epoch_loop._forward, []

    def failing(parts: Any, stage: Any, batch: Any, epoch: int) -> Any:  # noqa: ANN401
        loss, right = real(parts, stage, batch, epoch)
        batches.append(batch.indices.tolist())
        return (loss * float("nan") if len(batches) == 5 else loss), right

    with monkeypatch.context() as patch:
        patch.setattr(epoch_loop, "_forward", failing)
        with pytest.raises(TrainingError, match="not finite in epoch 1, batch 1") as caught:
            _run(recipe, tmp_path / "run")
    rows = batches[-1]
    assert all(f"row {row}: " in str(caught.value) for row in rows[:5])
    assert f"row {rows[5]}: " not in str(caught.value)
    assert "and 11 more" in str(caught.value)
    folder = RunFolder(tmp_path / "run")
    assert [path.name for path in folder.checkpoint_paths()] == ["epoch-0000.pt"]
    resumed = _weights(_run(recipe, tmp_path / "run", resume=True))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
