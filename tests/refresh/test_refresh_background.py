from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from multiprocessing import Pipe
from typing import TYPE_CHECKING

import pytest

from cache_store.store import SaliencyStore
from pipeline.errors import RefreshError, Stopped
from pipeline.refresh import background_process
from pipeline.refresh.background import BackgroundJob, BackgroundRefreshes, Ended
from pipeline.refresh.background_process import BackgroundProcess
from pipeline.refresh.dask_cluster import ClusterOptions
from pipeline.refresh.executors import LoopExecutor
from pipeline.refresh.job import execute
from pipeline.refresh.plan import RefreshOptions, RefreshPlan, plan_refresh
from pipeline.refresh.sources import DataSource, NetworkSource
from tests.slurm import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from pipeline.refresh.attempts import BlockOutcome

PATIENCE_SECONDS = 120.0


def _plan(folder: Path, cache: str | Path, *, seed: int = 0, rows: int = 8) -> RefreshPlan:
    options = RefreshOptions(size=16, batch_size=4, block_rows=rows, chunk_rows=4, epoch=seed)
    network = NetworkSource(name="resnet8", num_classes=3, seed=seed)
    return plan_refresh(DataSource(name=str(folder)), network, cache, options)


def _end_of(background: BackgroundRefreshes, key: int) -> Ended:
    until = time.monotonic() + PATIENCE_SECONDS
    while (ended := background.look(key)) is None:
        assert time.monotonic() < until
        time.sleep(0.02)
    return ended


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_until_gone(pid: int) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while _is_alive(pid):
        assert time.monotonic() < until
        time.sleep(0.02)


def _served(
    monkeypatch: pytest.MonkeyPatch, jobs: list[BackgroundJob], *, num_ends: int
) -> dict[int, Ended]:
    """Return how jobs end that the process finds when it begins, computed in this process."""
    monkeypatch.setattr(background_process, "DaskExecutor", lambda _cluster: LoopExecutor())
    ours, theirs = Pipe()
    for job in jobs:
        ours.send(job)
    process = BackgroundProcess(theirs, os.getppid())
    real, ended = process._tell, {}

    def tell(end: Ended) -> None:
        real(end)
        ended[end.key] = ours.recv()
        if len(ended) == num_ends:
            ours.close()

    monkeypatch.setattr(process, "_tell", tell)
    process.run()
    return ended


def _job(key: int, plan: RefreshPlan, *, newest_only: bool = False) -> BackgroundJob:
    cluster = ClusterOptions(workers=1)
    return BackgroundJob(key=key, plan=plan, cluster=cluster, newest_only=newest_only)


def test_jobs_end_in_turn_with_maps_or_with_what_went_wrong(
    tmp_path: Path, jpeg_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = jpeg_folder()
    first, second = (_plan(folder, tmp_path / "cache", seed=seed) for seed in (0, 2))
    gone = replace(first, network=replace(first.network, weights=str(tmp_path / "gone.pt")))
    ended = _served(monkeypatch, [_job(0, first), _job(1, gone), _job(2, second)], num_ends=3)
    assert list(ended) == [0, 1, 2]
    assert [ended[key].generation for key in ended] == [1, None, 2]
    assert ended[1].error is not None
    assert "gone.pt': no such file" in ended[1].error
    assert not ended[1].resumable
    digests = {execute(_plan(folder, tmp_path / "alone")).generation.digest}
    assert SaliencyStore.open(tmp_path / "cache").generation(1).digest in digests


def test_a_job_that_a_later_one_has_overtaken_is_left_out_if_that_is_wished(
    tmp_path: Path, jpeg_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = jpeg_folder()
    plans = [_plan(folder, tmp_path / "cache", seed=seed) for seed in (0, 1)]
    jobs = [_job(key, plan, newest_only=True) for key, plan in enumerate(plans)]
    ended = _served(monkeypatch, jobs, num_ends=2)
    assert (ended[0].generation, ended[0].error) == (None, None)
    assert SaliencyStore.open(tmp_path / "cache").latest().provenance.epoch == 1


def test_a_stop_amid_a_job_is_told_as_one_that_can_be_resumed(
    tmp_path: Path, jpeg_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lost(LoopExecutor):
        def run(self, *_: object, **__: object) -> Generator[BlockOutcome | None]:
            yield None
            raise Stopped("the Dask scheduler is lost")

    monkeypatch.setattr(background_process, "DaskExecutor", lambda _cluster: Lost())
    ours, theirs = Pipe()
    process = BackgroundProcess(theirs, os.getppid())
    ended = process._do(_job(0, _plan(jpeg_folder(), tmp_path / "cache")))
    assert (ended.error, ended.resumable) == ("the Dask scheduler is lost", True)
    ours.close()


def test_a_process_that_is_killed_is_told_of(
    tmp_path: Path, jpeg_folder: Callable[..., Path]
) -> None:
    with closing(BackgroundRefreshes(ClusterOptions(workers=1))) as background:
        background.submit(1, _plan(jpeg_folder(), tmp_path / "cache"))
        assert background.process_id is not None
        os.kill(background.process_id, signal.SIGKILL)
        with pytest.raises(RefreshError, match=r"ended with code -9"):
            _end_of(background, 1)


DYING = """
import os, signal, sys
from pathlib import Path
from tests.refresh.test_refresh_background import _plan
from pipeline.refresh.background import BackgroundRefreshes
from pipeline.refresh.dask_cluster import ClusterOptions
background = BackgroundRefreshes(ClusterOptions(workers=1))
background.submit(1, _plan(Path(sys.argv[1]), sys.argv[2], rows=4))
def wait_for(rows):
    while background.progress is None or background.progress[0] < rows:
        assert background.look(1) is None
wait_for(4)
os.kill(background.process_id, signal.SIGTERM)
os.kill(background.process_id, signal.SIGINT)
wait_for(background.progress[0] + 8)
print(background.process_id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_ends_with_the_process_that_wants_the_maps_and_not_by_a_signal_to_the_whole_job(
    tmp_path: Path, jpeg_folder: Callable[..., Path]
) -> None:
    folder = jpeg_folder(num=200)
    command = [sys.executable, "-P", "-c", DYING, str(folder), str(tmp_path / "cache")]
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=here)
    assert done.returncode == -signal.SIGKILL, done.stderr
    _wait_until_gone(int(done.stdout))
    store = SaliencyStore.open(tmp_path / "cache", "r+")
    assert not store.generations()
    assert len(store.unfinished()) == 1
    # Another one takes up what is done.
    writer = store.begin(_plan(folder, tmp_path / "cache", rows=4).generation)
    assert 0 < len(writer.pending()) <= writer.num_blocks - 3
