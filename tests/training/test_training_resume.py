from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch

from cache_store.errors import CacheMismatchError
from cache_store.store import SaliencyStore
from pipeline.errors import RecipeError
from pipeline.training.run_folder import METRIC_COLUMNS, RunFolder
from pipeline.training.trainer import TrainOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.training.recipe import Recipe

    MakeRecipe = Callable[..., Recipe]


def _run(recipe: Recipe, run: Path, **options: Any) -> RunFolder:  # noqa: ANN401
    return train(recipe, TrainOptions(run=run, log=lambda _line: None, **options))


def _rows(folder: RunFolder) -> list[dict[str, str]]:
    return list(csv.DictReader(folder.metrics_path.read_text().splitlines()))


def _final_weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    state = torch.load(folder.checkpoint_paths()[-1], weights_only=True)
    weights: dict[str, torch.Tensor] = state["model"]
    return weights


def _assert_equal_runs(first: RunFolder, second: RunFolder) -> None:
    ours, theirs = _final_weights(first), _final_weights(second)
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
    rows = [_rows(folder) for folder in (first, second)]
    for mine, other in zip(*rows, strict=True):
        timed = ("images_per_second", "seconds", "share")
        assert {k: v for k, v in mine.items() if not k.startswith(timed)} == {
            k: v for k, v in other.items() if not k.startswith(timed)
        }
    digests = [SaliencyStore.open(folder.cache).latest().digest for folder in (first, second)]
    assert digests[0] == digests[1]


def test_a_run_leaves_metrics_checkpoints_maps_summary_and_report(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    folder = _run(tiny_recipe(), tmp_path / "run")
    rows = _rows(folder)
    assert tuple(rows[0]) == METRIC_COLUMNS
    assert [row["generation"] for row in rows] == ["0", "0", "1", "1"]
    assert [row["refresh"] for row in rows] == [
        "no: not a multiple of 2 epochs", "yes", "no: not a multiple of 2 epochs",
        "no: training is over",
    ]  # fmt: skip
    assert [float(row["lam"]) for row in rows] == [0.0, 2.0, 4.0, 6.0]
    summary = json.loads(folder.summary_path.read_text())
    assert summary["generations"][0]["epoch"] == 1
    assert 0 <= summary["top1"] <= 1
    for row in rows:  # 24 images of a medium class, 12 and 4 of few ones
        assert row["erased_pixels_many"] == ""
        shares = [float(row[f"erased_pixels_{name}"]) for name in ("medium", "few")]
        assert float(row["erased_pixels"]) == pytest.approx((24 * shares[0] + 16 * shares[1]) / 40)
    means = summary["erased_pixels"]
    assert means["many"] is None
    few = [float(row["erased_pixels_few"]) for row in rows]
    assert means["few"] == pytest.approx(sum(few) / 4)
    assert folder.report_path.stat().st_size > 1000
    assert [path.name for path in folder.checkpoint_paths()] == ["epoch-0002.pt", "epoch-0003.pt"]
    assert not list(folder.path.rglob("*.partial"))


KILLED_RUN = """
import os, signal, sys
from pathlib import Path
import torch
from pipeline.training import refreshes, run_loop, trainer
from pipeline.training.recipe_file import load_recipe
torch.set_num_threads(1)
where, count, run, *overrides = sys.argv[1:]
calls = 0
def dying(real):
    def call(*args, **options):
        global calls
        calls += 1
        if calls > int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **options)
    return call
place = run_loop if hasattr(run_loop, where) else refreshes
setattr(place, where, dying(getattr(place, where)))
trainer.train(load_recipe(None, overrides), trainer.TrainOptions(run=Path(run), resume=True))
"""


@pytest.mark.parametrize(
    ("where", "count"),
    [("train_epoch", 3), ("save_checkpoint", 1), ("refresh_from_checkpoint", 0)],
    ids=["in-epoch-3", "before-checkpoint-1", "before-refresh"],
)
def test_killed_and_resumed_equals_undisturbed_to_the_bit(
    tmp_path: Path, tiny_recipe: MakeRecipe, image_folder: Path, where: str, count: int
) -> None:
    undisturbed = _run(tiny_recipe(), tmp_path / "whole")
    overrides = [
        f"data.name={image_folder}", "data.size=16", "train.epochs=4", "train.batch_size=16",
        "train.precision=fp32", "refresh.interval=2", "augment.lambda_max=8.0",
    ]  # fmt: skip
    command = [sys.executable, "-P", "-c", KILLED_RUN, where, str(count), str(tmp_path / "k")]
    done = subprocess.run([*command, *overrides], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    before = [row["seconds_refresh"] for row in _rows(RunFolder(tmp_path / "k"))]
    resumed = _run(tiny_recipe(), tmp_path / "k", resume=True)
    _assert_equal_runs(undisturbed, resumed)
    after = [float(row["seconds_refresh"]) for row in _rows(resumed)]
    assert [seconds > 0 for seconds in after] == [False, True, False, False]
    if where == "train_epoch":  # the refresh was done: its time is that of who made it
        assert [float(seconds) for seconds in before] == after[:3]


def test_sigterm_ends_with_exit_code_75_and_the_run_can_be_resumed(
    tmp_path: Path, image_folder: Path
) -> None:
    scae = os.path.join(os.path.dirname(sys.executable), "scae")  # noqa: PTH118, PTH120
    command = [
        scae, "train", "--data", str(image_folder), "--run", str(tmp_path / "run"),
        "--set", "data.size=16", "--set", "train.epochs=4000", "--set", "refresh.interval=0",
        "--set", "data.evaluate=false", "--set", "train.batch_size=8",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("run/checkpoints/*.pt")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 75
    assert "--resume" in stderr
    assert "Traceback" not in stderr


def test_a_run_folder_in_use_is_not_overwritten(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    _run(tiny_recipe("train.epochs=1"), tmp_path / "run")
    with pytest.raises(RecipeError, match="holds a run already: go on with it by --resume"):
        _run(tiny_recipe("train.epochs=1"), tmp_path / "run")


def test_another_recipe_does_not_resume_a_run(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    _run(tiny_recipe("train.epochs=1"), tmp_path / "run")
    with pytest.raises(RecipeError, match="made by another recipe"):
        _run(tiny_recipe("train.epochs=2"), tmp_path / "run", resume=True)


def test_a_damaged_checkpoint_is_named(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    folder = _run(tiny_recipe("train.epochs=1"), tmp_path / "run")
    path = folder.checkpoint_paths()[-1]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RecipeError, match=r"can't read checkpoint .*epoch-0000.pt.*remove it"):
        _run(tiny_recipe("train.epochs=1"), tmp_path / "run", resume=True)


def test_resuming_with_another_cache_is_refused(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    first = _run(tiny_recipe(), tmp_path / "first")
    other = _run(tiny_recipe("seed=1"), tmp_path / "other")
    with pytest.raises(CacheMismatchError, match=r"generation 1 .* has digest"):
        _run(tiny_recipe(), first.path, resume=True, cache=str(other.cache))


def test_a_finished_run_resumes_to_the_same_end(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    folder = _run(tiny_recipe(), tmp_path / "run")
    before = _final_weights(folder)
    again = _run(tiny_recipe(), tmp_path / "run", resume=True)
    assert all(torch.equal(value, before[name]) for name, value in _final_weights(again).items())
