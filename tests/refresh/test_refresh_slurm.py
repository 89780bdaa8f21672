"""The scripts for SLURM, run as an operator runs them, on a stand-in for SLURM."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cache_store.store import SaliencyStore
from pipeline.refresh.job import execute
from pipeline.refresh.plan import RefreshOptions, plan_refresh
from pipeline.refresh.sources import DataSource, NetworkSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.slurm import FakeSlurm

ROOT = Path(__file__).parent.parent.parent
SCRIPTS = ROOT / "scripts" / "slurm"


def _options(folder: Path, cache: Path) -> list[object]:
    return [
        "--data", folder, "--cache", cache, "--network", "resnet8", "--weights", "random",
        "--size", 16, "--batch-size", 4, "--block-rows", 4,
    ]  # fmt: skip


def _digest(folder: Path, cache: Path) -> str:
    """Return what a refresh in one process makes of the same."""
    options = RefreshOptions(size=16, batch_size=4, block_rows=4, chunk_rows=4)
    network = NetworkSource(name="resnet8", num_classes=3)
    plan = plan_refresh(DataSource(name=str(folder)), network, cache, options)
    return execute(plan).generation.digest


def test_array_job_computes_parts_at_once_requeues_what_was_stopped_and_publishes(
    slurm: FakeSlurm, tmp_path: Path, jpeg_folder: Callable[..., Path]
) -> None:
    folder, cache = jpeg_folder(), tmp_path / "maps.zarr"
    slurm.environment["PARTS"] = "2"
    # The first run of scae ends as a walltime ends it; the later ones are left alone.
    real = shutil.which("scae", path=slurm.environment["PATH"])
    wrapper = slurm.folder / "bin" / "scae"
    stopped = slurm.folder / "stopped"
    wrapper.write_text(f'#!/bin/sh\nmkdir {stopped} 2>/dev/null && exit 75\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    printed = slurm.run(SCRIPTS / "array.sh", *_options(folder, cache))
    array, last = (int(number) for number in re.findall(r"\d+", printed))
    assert slurm.wait_for(last) == [0], slurm.log(array) + slurm.log(last)
    assert slurm.wait_for(array) == [0, 0]
    assert len(re.findall(f"scontrol requeue {array}_[01]\n", slurm.calls())) == 1
    assert "part 1/2 of generation 1 is done: 4 blocks" in slurm.log(array)
    assert "part 2/2 of generation 1 is done: 4 blocks" in slurm.log(array)
    store = SaliencyStore.open(cache)
    assert store.generations() == (1,)
    assert store.latest().digest == _digest(folder, tmp_path / "alone.zarr")


def test_srun_workers_compute_what_one_process_computes(
    slurm: FakeSlurm, tmp_path: Path, jpeg_folder: Callable[..., Path]
) -> None:
    folder, cache = jpeg_folder(), tmp_path / "maps.zarr"
    slurm.environment |= {"SCAE_LIFETIME": "10 minutes", "SCAE_JOB_DIR": str(tmp_path)}
    job = int(
        slurm.run(
            "sbatch", "--parsable", "--ntasks=2", SCRIPTS / "workers.sbatch",
            *_options(folder, cache),
        )
    )  # fmt: skip
    assert slurm.wait_for(job) == [0], slurm.log(job)
    assert "--lifetime 10 minutes" in slurm.calls()
    assert SaliencyStore.open(cache).latest().digest == _digest(folder, tmp_path / "alone.zarr")
    assert not list(tmp_path.glob("scae-job-*"))


def test_jobqueue_workers_compute_what_one_process_computes(
    slurm: FakeSlurm, tmp_path: Path, jpeg_folder: Callable[..., Path]
) -> None:
    folder, cache = jpeg_folder(), tmp_path / "maps.zarr"
    slurm.run(
        sys.executable, "-P", SCRIPTS / "jobqueue.py", "--jobs", 1, "--cores", 1, "--memory", "2GB",
        "--local-directory", tmp_path, "--", *_options(folder, cache),
    )  # fmt: skip
    assert "sbatch" in slurm.calls()
    assert "scancel" in slurm.calls()
    assert SaliencyStore.open(cache).latest().digest == _digest(folder, tmp_path / "alone.zarr")


@pytest.mark.torture
def test_jobqueue_workers_come_for_the_refreshes_of_a_training_run(
    slurm: FakeSlurm, tmp_path: Path, jpeg_folder: Callable[..., Path]
) -> None:
    run = tmp_path / "run"
    words = [
        f"data.name={jpeg_folder()}", "data.size=16", "data.evaluate=false", "train.epochs=6",
        "refresh.interval=2", "augment.lambda_max=8.0", "data.in_memory=no", "train.workers=0",
        "data.crop=resized",
    ]  # fmt: skip
    slurm.run(
        sys.executable, "-P", SCRIPTS / "jobqueue.py", "--command", "train", "--jobs", 1,
        "--cores", 1, "--memory", "2GB", "--local-directory", tmp_path, "--", "--run", run,
        *(part for word in words for part in ("--set", word)),
    )  # fmt: skip
    assert "sbatch" in slurm.calls()
    store = SaliencyStore.open(run / "maps.zarr")
    assert [store.generation(number).provenance.epoch for number in store.generations()] == [1, 3]
    rows = (run / "metrics.csv").read_text().splitlines()
    generations = [row.split(",")[4] for row in rows[1:]]
    assert generations == ["0", "0", "0", "1", "1", "2"]
