"""The training script for SLURM, run as an operator runs it, on a stand-in for SLURM."""

from __future__ import annotations

import csv
import shutil
from typing import TYPE_CHECKING

import pytest
import torch

from pipeline.training.run_folder import RunFolder
from pipeline.training.trainer import TrainOptions, train
from tests.slurm import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.training.recipe import Recipe
    from tests.slurm import FakeSlurm

STOPPED_ONCE = """#!/bin/sh
if mkdir {folder}/stopped 2>/dev/null; then
    {real} "$@" & job=$!
    until ls {run}/checkpoints/epoch-* >/dev/null 2>&1; do sleep 0.05; done
    kill -TERM $job
    wait $job
    exit $?
fi
exec {real} "$@"
"""


def test_a_training_job_that_is_stopped_goes_back_into_the_queue_and_ends_as_if_it_were_not(
    slurm: FakeSlurm, tmp_path: Path, tiny_recipe: Callable[..., Recipe]
) -> None:
    recipe = tiny_recipe("train.epochs=24", "refresh.interval=8", "data.evaluate=false")
    whole = train(recipe, TrainOptions(run=tmp_path / "whole", log=lambda _line: None))
    folder = RunFolder(tmp_path / "run")
    real = shutil.which("scae", path=slurm.environment["PATH"])
    wrapper = slurm.folder / "bin" / "scae"
    wrapper.write_text(STOPPED_ONCE.format(folder=slurm.folder, real=real, run=folder.path))
    wrapper.chmod(0o755)
    slurm.environment |= {"OMP_NUM_THREADS": "1"}
    script = ROOT / "scripts" / "slurm" / "train.sbatch"
    words = ("--recipe", whole.recipe_path, "--run", folder.path, "--device", "cpu")
    job = int(slurm.run("sbatch", "--parsable", script, *words))
    assert slurm.wait_for(job) == [0], slurm.log(job)
    assert slurm.calls().count(f"scontrol requeue {job}\n") == 1
    assert "going on " in slurm.log(job)
    states = [torch.load(one.checkpoint_path(23), weights_only=True) for one in (whole, folder)]
    for name, weights in states[0]["model"].items():
        assert torch.equal(weights, states[1]["model"][name]), name
    assert len(list(csv.DictReader(folder.metrics_path.read_text().splitlines()))) == 24


@pytest.mark.parametrize("code", [1, 2, 137])
def test_a_training_job_that_fails_is_not_put_back_and_ends_with_its_code(
    code: int, slurm: FakeSlurm
) -> None:
    wrapper = slurm.folder / "bin" / "scae"
    wrapper.write_text(f"#!/bin/sh\nexit {code}\n")
    wrapper.chmod(0o755)
    script = ROOT / "scripts" / "slurm" / "train.sbatch"
    job = int(slurm.run("sbatch", "--parsable", script, "--recipe", "my.toml", "--run", "run"))
    assert slurm.wait_for(job) == [code]
    assert "requeue" not in slurm.calls()
