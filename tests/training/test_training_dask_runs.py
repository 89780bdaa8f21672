"""Runs whose maps a real Dask cluster makes, and what becomes of them when things go wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RefreshError, Stopped
from pipeline.training import later_maps
from pipeline.training.run_folder import RunFolder
from tests.training.later_runs import (
    LateMaker,
    assert_equal_runs,
    column,
    maps_by_epoch,
    run_recipe,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.training.recipe import Recipe

    MakeRecipe = Callable[..., Recipe]

DASK = ("refresh.executor=dask", "refresh.workers=1", "data.evaluate=false")


@pytest.fixture
def undisturbed(tmp_path: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same run without any cluster, which others are compared with."""
    with monkeypatch.context() as patched:
        patched.setattr(later_maps, "ClusterMaker", LateMaker)
        return run_recipe(tiny_recipe(*DASK), tmp_path / "undisturbed").path


def _children(of: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(of)], capture_output=True, text=True, check=False
    )
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "background" in line]


def test_maps_made_by_a_cluster_while_training_goes_on_come_after_the_lag(
    tmp_path: Path, tiny_recipe: MakeRecipe, undisturbed: Path
) -> None:
    folder = run_recipe(tiny_recipe(*DASK), tmp_path / "run")
    assert maps_by_epoch(folder) == [None, None, None, 1]
    assert column(folder, "adopted") == ["", "", "1", ""]
    assert_equal_runs(RunFolder(undisturbed), folder)
    assert not _children(os.getpid())


KILLED_RUN = """
import os, signal, sys
from pathlib import Path
import torch
from pipeline.training import later_maps, run_loop, trainer
from pipeline.training.recipe_file import load_recipe
torch.set_num_threads(1)
place, name, count, run, *overrides = sys.argv[1:]
calls = 0
owner = {"loop": run_loop, "later": later_maps}[place]
real = getattr(owner, name)
def dying(*args, **options):
    global calls
    calls += 1
    if calls > int(count):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **options)
setattr(owner, name, dying)
trainer.train(load_recipe(None, overrides), trainer.TrainOptions(run=Path(run), resume=True))
"""


@pytest.mark.parametrize(
    ("place", "name", "count"),
    [
        pytest.param("loop", "train_epoch", 2, id="while-pending"),
        pytest.param("later", "_told", 0, id="not-yet-adopted", marks=pytest.mark.torture),
    ],
)
def test_killed_with_maps_on_their_way_and_resumed_equals_undisturbed_to_the_bit(
    tmp_path: Path,
    tiny_recipe: MakeRecipe,
    image_folder: Path,
    undisturbed: Path,
    place: str,
    name: str,
    count: int,
) -> None:
    overrides = [
        f"data.name={image_folder}", "data.size=16", "train.epochs=4", "train.batch_size=16",
        "train.precision=fp32", "refresh.interval=2", "augment.lambda_max=8.0", *DASK,
    ]  # fmt: skip
    words = [place, name, str(count), str(tmp_path / "run")]
    command = [sys.executable, "-P", "-c", KILLED_RUN, *words, *overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = run_recipe(tiny_recipe(*DASK), tmp_path / "run", resume=True)
    assert_equal_runs(RunFolder(undisturbed), folder)


@pytest.mark.torture
def test_a_refresh_that_fails_ends_the_run_with_its_cause_and_the_cure(
    tmp_path: Path, tiny_recipe: MakeRecipe, image_folder: Path, undisturbed: Path
) -> None:
    recipe = tiny_recipe(*DASK)
    image = sorted(image_folder.glob("train/*/*.png"))[0]
    whole = image.read_bytes()

    def damage(line: str) -> None:
        if line.startswith("epoch 0"):  # the trainer has read it; the workers have not
            image.write_bytes(bytes(len(whole)))

    folder = RunFolder(tmp_path / "run")
    try:
        with pytest.raises(RefreshError, match=rf"after epoch 1 were not made: .*{image.name}"):
            run_recipe(recipe, folder.path, log=damage)
    finally:
        image.write_bytes(whole)
    assert not _children(os.getpid())
    resumed = run_recipe(recipe, folder.path, resume=True)
    assert_equal_runs(RunFolder(undisturbed), resumed)


def test_a_stop_while_maps_are_on_their_way_leaves_no_process(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    recipe = tiny_recipe(*DASK)
    begun = time.monotonic()
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(Stopped, match="--resume"):
        run_recipe(recipe, folder.path, stop=lambda: (folder.refreshing / "epoch-0001.pt").exists())
    assert time.monotonic() - begun < 60
    assert not _children(os.getpid())
