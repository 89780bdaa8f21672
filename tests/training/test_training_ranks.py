"""Several ranks train one network: the batches of one, its steps, one answer to each question."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from cache_store.store import SaliencyStore
from pipeline.errors import RecipeError, TrainingError
from pipeline.training.epoch import batch_shares
from pipeline.training.epoch_sums import added_up
from pipeline.training.launch import LaunchOptions, launch
from pipeline.training.ranks import Ranks
from pipeline.training.run_folder import RunFolder
from pipeline.training.setup import build_parts
from pipeline.training.trainer import TrainOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.training.recipe import Recipe

    MakeRecipe = Callable[..., Recipe]
    RunRanks = Callable[..., list[int]]


def _quiet(_line: str) -> None:
    """Tell nobody."""


NETWORK_WITHOUT_NORM = """
from torch import nn

def build(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, num_classes),
    )
"""


def _rows(folder: RunFolder) -> list[dict[str, str]]:
    return list(csv.DictReader(folder.metrics_path.read_text().splitlines()))


def _sorted_samples(epoch: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    whole = {name: torch.cat([batch[name] for batch in epoch]) for name in epoch[0]}
    order = np.lexsort((whole["draws"].numpy(), whole["indices"].numpy()))
    return {name: values[order] for name, values in whole.items()}


def test_two_ranks_deliver_together_the_samples_and_boxes_of_one(
    tmp_path: Path, tiny_recipe: MakeRecipe, run_ranks: RunRanks
) -> None:
    recipe = tiny_recipe("refresh.interval=1", "augment.beta=0.5", "augment.p_max=1.0")
    cache = tmp_path / "maps.zarr"
    train(recipe, TrainOptions(run=tmp_path / "run", cache=str(cache), log=_quiet))
    assert SaliencyStore.open(cache).latest().number >= 2
    generations = [0, 1, 1, 2]
    for num in (1, 2):
        assert run_ranks("deliver", num, recipe, cache, generations, tmp_path) == [0] * num
    one = torch.load(tmp_path / "0-of-1.pt")
    two = [torch.load(tmp_path / f"{rank}-of-2.pt") for rank in (0, 1)]
    boxes = 0
    for epoch, whole in enumerate(one):
        ours = _sorted_samples(whole)
        theirs = _sorted_samples(two[0][epoch] + two[1][epoch])
        assert ours["indices"].tolist() == list(range(40))
        for name, values in ours.items():
            assert torch.equal(values, theirs[name]), (epoch, name)
        boxes += int((ours["erased"] > 0).sum())
        # Each step has the same samples, whatever rank has them.
        steps = [sorted(batch["indices"].tolist()) for batch in whole]
        shared = zip(*(two[rank][epoch] for rank in (0, 1)), strict=True)
        assert steps == [
            sorted(torch.cat([b["indices"] for b in pair]).tolist()) for pair in shared
        ]
    assert boxes > 40


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_take_the_steps_of_one_process(
    tmp_path: Path, tiny_recipe: MakeRecipe, run_ranks: RunRanks, ranks: int
) -> None:
    """Without BatchNorm, whose statistics are of each rank's own images."""
    (tmp_path / "plain.py").write_text(NETWORK_WITHOUT_NORM)
    recipe = tiny_recipe(
        f"network.name={tmp_path / 'plain.py'}:build", "train.batch_size=12", "train.lr=0.02",
        "train.accumulate=2", "train.epochs=2", "refresh.interval=1", "augment.lambda_max=0.0",
    )  # fmt: skip
    one = train(recipe, TrainOptions(run=tmp_path / "one", log=_quiet))
    assert run_ranks("train_under_fire", ranks, recipe, tmp_path / "n", None, {}) == [0] * ranks
    several = RunFolder(tmp_path / "n")
    states = [torch.load(run.checkpoint_path(1), weights_only=True) for run in (one, several)]
    for name, weights in states[0]["model"].items():
        torch.testing.assert_close(states[1]["model"][name], weights, rtol=1e-4, atol=1e-5)
    rows = [
        list(csv.DictReader(run.metrics_path.read_text().splitlines())) for run in (one, several)
    ]
    for mine, other in zip(*rows, strict=True):
        for column in ("train_loss", "test_loss", "erased_pixels", "train_top1", "erased"):
            assert float(other[column]) == pytest.approx(float(mine[column]), rel=1e-4), column


def test_a_run_goes_on_with_another_number_of_ranks(
    tmp_path: Path, tiny_recipe: MakeRecipe, run_ranks: RunRanks
) -> None:
    recipe = tiny_recipe("train.epochs=2")
    strike = {"signal": signal.SIGTERM, "rank": 1, "question": 2, "delay": 0.0}
    codes = run_ranks("train_under_fire", 2, recipe, tmp_path / "run", strike, {})
    assert codes == [75, 75]  # one was told, both stopped
    folder = RunFolder(tmp_path / "run")
    assert folder.middle_path.is_file()
    told: list[str] = []
    train(recipe, TrainOptions(run=folder.path, resume=True, log=told.append))
    assert any("in epoch 0 after" in line for line in told)
    for row in _rows(folder):  # what both had summed is not lost, and nothing counted twice
        shares = [float(row[f"erased_pixels_{name}"]) for name in ("medium", "few")]
        assert float(row["erased_pixels"]) == pytest.approx((24 * shares[0] + 16 * shares[1]) / 40)


def test_all_ranks_hear_of_a_failure_on_one(tmp_path: Path, run_ranks: RunRanks) -> None:
    assert run_ranks("fail_together", 2, tmp_path) == [0, 0]
    (first, flags), (second, more) = (
        json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)
    )
    assert first == [
        ["OtherRankFailed", "rank 1 says no"], ["Stopped", "rank 0 says no"],
        ["ScaeError", "rank 0 says no"], ["none", "0"], ["none", "0"],
    ]  # fmt: skip
    assert second == [
        ["ScaeError", "rank 1 says no"], ["Stopped", "rank 0 says no"],
        ["OtherRankFailed", "rank 0 says no"], ["none", "0"], ["none", "1"],
    ]  # fmt: skip
    assert flags == more == [True, False, True]


def test_shares_of_ranks_make_the_mean_over_a_steps_samples() -> None:
    bounds = np.array([0, 12, 24, 29])
    samples = np.random.default_rng(0).normal(size=29)
    shares = [batch_shares(bounds, 2, Ranks(rank, 3)) for rank in range(3)]
    for step, batches in ((slice(0, 24), (0, 1)), (slice(24, 29), (2,))):
        gradients = [
            sum(
                shares[rank][batch] * samples[bounds[batch] + rank : bounds[batch + 1] : 3].mean()
                for batch in batches
            )
            for rank in range(3)
        ]
        assert np.mean(gradients) == pytest.approx(samples[step].mean())


@pytest.mark.parametrize(("num", "size"), [(10, 3), (2, 4), (0, 2), (7, 1)])
def test_shares_of_images_are_all_of_them_once_and_in_order(num: int, size: int) -> None:
    shares = [Ranks(rank, size).share(num) for rank in range(size)]
    assert [row for share in shares for row in share] == list(range(num))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_sums_of_ranks_add_up_and_times_do_not() -> None:
    seen: list[dict[str, Any]] = [
        {
            "sums": {"loss": loss, "right": right, "harvest": t / 10},
            "counted": {"seconds": t, "waited": 1.0, "method": 0.1, "n": [1]},
        }
        for loss, right, t in ((1.0, 2.0, 5.0), (0.5, None, 7.0))
    ]
    assert added_up(seen) == {
        "sums": {"loss": 1.5, "right": None, "harvest": 0.7},
        "counted": {"seconds": 7.0, "waited": 1.0, "method": 0.1, "n": [2]},
    }


def test_a_batch_that_ranks_can_not_share_is_refused(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    with pytest.raises(RecipeError, match="must be a multiple of the number of ranks, 3, got 16"):
        build_parts(tiny_recipe(), tmp_path / "maps.zarr", ranks=Ranks(0, 3))


def _command(image_folder: Path, run: Path, *words: str) -> list[str]:
    scae = Path(sys.executable).parent / "scae"
    return [
        str(scae), "train", "--data", str(image_folder), "--run", str(run), "--device", "cpu",
        "--ranks", "2", "--set", "data.size=16", "--set", "train.batch_size=8", *words,
    ]  # fmt: skip


def test_the_command_starts_ranks_passes_a_signal_on_and_keeps_the_exit_code(
    tmp_path: Path, image_folder: Path
) -> None:
    run = tmp_path / "run"
    command = _command(image_folder, run, "--epochs", "4000", "--set", "refresh.interval=0")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 120
        while not list(run.glob("checkpoints/*.pt")) and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGTERM)  # as SLURM does: launcher and ranks all get it
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 75, stderr
    assert stderr.count("Error:") == 1
    assert "stopped" in stderr
    assert "--resume" in stderr
    assert len(stderr.strip().splitlines()) == 1
    assert stdout.count("epoch 0 of 0..3999") == 1  # rank 0 talks, the other one does not


def test_a_mistake_is_told_once_whatever_the_number_of_ranks(
    tmp_path: Path, image_folder: Path
) -> None:
    command = _command(image_folder, tmp_path / "run", "--set", "train.batch_size=7")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert lines == [
        "Error: the command line: train.batch_size must be a multiple of the number of ranks, 2, "
        "got 7: it counts the images of all ranks"
    ]


def test_a_killed_rank_is_named(tmp_path: Path) -> None:
    dying = "import os, signal, time\nif os.environ['RANK'] == '1': os.kill(os.getpid(), 9)\n"
    command = [sys.executable, "-c", f"{dying}time.sleep(60)"]
    with pytest.raises(TrainingError, match=r"rank 1 was killed by SIGKILL; memory .* --resume"):
        launch(command, LaunchOptions(ranks=2))


@pytest.mark.parametrize("address", ["nowhere.invalid:29500", "localhost", "localhost:x", ":99999"])
def test_a_meeting_place_that_can_not_be_is_named_at_once(address: str) -> None:
    with pytest.raises(TrainingError, match=rf"can't meet at --rendezvous {address}: .* free port"):
        launch(["true"], LaunchOptions(ranks=1, nodes=2, rendezvous=address))
