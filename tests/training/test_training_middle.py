"""Stopped in the middle of an epoch and resumed: the run is the undisturbed one, to the bit."""

from __future__ import annotations

import csv
import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

from cache_store.store import SaliencyStore
from pipeline.errors import FolderInUse, RecipeError, Stopped, TrainingError
from pipeline.refresh.whole_file import write_whole
from pipeline.training.run_folder import RunFolder
from pipeline.training.trainer import TrainOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.training.recipe import Recipe

    MakeRecipe = Callable[..., Recipe]

NETWORK_THAT_DROPS = """
from torch import nn

def build(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5),
        nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, num_classes),
    )
"""


def _run(recipe: Recipe, run: Path, **options: Any) -> RunFolder:  # noqa: ANN401
    return train(recipe, TrainOptions(run=run, log=lambda _line: None, **options))


def _at_question(number: int) -> Callable[[], bool]:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked >= number

    return stop


def _result(folder: RunFolder) -> tuple[list[dict[str, str]], dict[str, torch.Tensor]]:
    """Return the rows without times, and the weights, averages and momenta at the end."""
    rows = list(csv.DictReader(folder.metrics_path.read_text().splitlines()))
    for row in rows:
        for name in list(row):
            if name.startswith(("images_per_second", "seconds", "share")):
                del row[name]
    state = torch.load(folder.checkpoint_paths()[-1], weights_only=True)
    momenta = state["optimizer"]["state"].items()
    return rows, {
        **{f"model.{name}": value for name, value in state["model"].items()},
        **{f"stage.{name}": value for name, value in state["stage"].items()},
        **{f"momentum.{name}": value["momentum_buffer"] for name, value in momenta},
    }


def _assert_same_end(first: RunFolder, second: RunFolder) -> None:
    (rows, weights), (other_rows, other_weights) = _result(first), _result(second)
    for row, other in zip(rows, other_rows, strict=True):
        assert row == other
    assert weights.keys() == other_weights.keys()
    for name, value in weights.items():
        assert torch.equal(value, other_weights[name]), name
    digests = [SaliencyStore.open(folder.cache).latest().digest for folder in (first, second)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.batch_size=8", "train.accumulate=2"],  # the last step has one batch of five
        ["train.batch_size=16", "train.ema=0.9", "train.workers=2"],
        ["train.epochs=3", "second_stage.name=mislas", "second_stage.epochs=2"],
        ["network.name=FOLDER/dropping.py:build"],
        ["refresh.mode=harvest", "refresh.interval=3", "train.batch_size=8", "train.accumulate=2"],
    ],
    ids=["accumulated", "averaged-workers", "second-stage", "dropout", "harvested"],
)
def test_a_run_stopped_over_and_over_ends_as_the_undisturbed_one(
    tmp_path: Path, tiny_recipe: MakeRecipe, overrides: list[str]
) -> None:
    (tmp_path / "dropping.py").write_text(NETWORK_THAT_DROPS)
    recipe = tiny_recipe(*[word.replace("FOLDER", str(tmp_path)) for word in overrides])
    undisturbed = _run(recipe, tmp_path / "whole")
    folder, legs, middles = RunFolder(tmp_path / "parts"), 0, 0
    while not folder.summary_path.is_file():
        legs += 1
        assert legs < 60
        try:
            _run(recipe, folder.path, resume=True, stop=_at_question(4))
        except Stopped:
            middles += folder.middle_path.is_file()
    assert middles >= 3
    assert not folder.middle_path.exists()
    _assert_same_end(undisturbed, folder)


@pytest.mark.parametrize("leave", ["middle", "damaged", "older"])
def test_a_checkpoint_in_the_middle_counts_until_its_epoch_is_done(
    tmp_path: Path, tiny_recipe: MakeRecipe, leave: str
) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(Stopped, match=r"in epoch 0 after batch 2 of 3: go on .* --resume"):
        _run(tiny_recipe(), folder.path, stop=_at_question(2))
    assert folder.checkpoint_paths() == []
    with pytest.raises(RecipeError, match="holds a run already"):
        _run(tiny_recipe(), folder.path)
    told: list[str] = []
    if leave == "damaged":
        folder.middle_path.write_bytes(b"PK" + bytes(100))
        with pytest.raises(RecipeError, match=r"can't read checkpoint .*middle.pt.*remove it"):
            _run(tiny_recipe(), folder.path, resume=True)
        return
    if leave == "older":
        kept = folder.middle_path.read_bytes()
        with pytest.raises(Stopped):
            _run(tiny_recipe(), folder.path, resume=True, stop=_at_question(6))
        assert [path.name for path in folder.checkpoint_paths()] == ["epoch-0000.pt"]
        folder.middle_path.write_bytes(kept)
    train(tiny_recipe(), TrainOptions(run=folder.path, resume=True, log=told.append))
    where = {"middle": "in epoch 0 after 32 images", "older": "after epoch 0"}[leave]
    assert f"going on {where} of {folder.path}" in told


def test_checkpoints_in_the_middle_are_written_now_and_then(
    tmp_path: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def noting(path: Path, data: bytes) -> None:
        written.append(path.name)
        write_whole(path, data)

    monkeypatch.setattr("pipeline.training.checkpoint.write_whole", noting)
    _run(tiny_recipe("train.epochs=1"), tmp_path / "often", checkpoint_seconds=1e-9)
    assert written == ["middle.pt", "middle.pt", "middle.pt", "epoch-0000.pt"]
    written.clear()
    _run(tiny_recipe("train.epochs=1"), tmp_path / "never", checkpoint_seconds=0.0)
    assert written == ["epoch-0000.pt"]


def test_a_disk_without_room_ends_the_run_in_a_line_and_can_be_resumed(
    tmp_path: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = _run(tiny_recipe(), tmp_path / "whole")
    calls = iter(range(100))

    def full(path: Path, data: bytes) -> None:
        if next(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_whole(path, data)

    monkeypatch.setattr("pipeline.training.checkpoint.write_whole", full)
    with pytest.raises(TrainingError, match=r"epoch-0002.pt: No space left on device; make room"):
        _run(tiny_recipe(), tmp_path / "full")
    _assert_same_end(undisturbed, _run(tiny_recipe(), tmp_path / "full", resume=True))


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.make()
    holding = (
        "import pathlib, sys; from pipeline.training.folder_lock import folder_lock\n"
        "with folder_lock(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-P", "-c", holding, str(folder.lock_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(FolderInUse, match=rf"process {other.pid} on .* works in .* already"):
            _run(tiny_recipe(), folder.path)
        other.kill()
    _run(tiny_recipe("train.epochs=1"), folder.path)


def test_a_file_system_without_locks_is_told_and_used(
    tmp_path: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("pipeline.training.folder_lock.fcntl.lockf", refuse)
    told: list[str] = []
    train(tiny_recipe("train.epochs=1"), TrainOptions(run=tmp_path / "run", log=told.append))
    assert any("can't lock" in line and "no other process trains there" in line for line in told)
