"""Workers and schedulers that die while a refresh runs: the digest of an undisturbed run, or 75."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import pytest
from distributed import Client
from distributed.chaos import KillWorker

from cache_store.layout import RECEIPTS
from cache_store.store import SaliencyStore
from pipeline.errors import BlocksFailed, Stopped
from pipeline.refresh import dask_cluster, dask_executor
from pipeline.refresh.dask_cluster import ClusterOptions
from pipeline.refresh.dask_executor import DaskExecutor
from pipeline.refresh.job import execute
from pipeline.refresh.plan import RefreshOptions, RefreshPlan, plan_refresh
from pipeline.refresh.sources import DataSource, NetworkSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pipeline.refresh.progress import RefreshProgress
    from tests.conftest import TortureLog

SLOW_NETWORK = """
import time
import torch
from torch import nn

class Slow(nn.Module):
    def __init__(self, num_classes, seconds):
        super().__init__()
        self.seconds = float(seconds)
        self.features = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.linear = nn.Linear(8, num_classes)

    def forward(self, images):
        time.sleep(self.seconds)
        return self.linear(self.features(images).relu().mean((2, 3)))

def build(num_classes, seconds):
    return Slow(num_classes, seconds)
"""
DIE_IN_A_WORKER = f"""
        import os
        if os.getpid() != {os.getpid()}:
            os._exit(1)
"""
LONG_ROUNDS = [
    f"{how} {number}" for how in ("sys.exit", "segfault", "sigkill") for number in range(2)
]
"""Ways to die, each with several seeds."""
CHAOS_WORKERS = 3


@pytest.fixture
def slow_plan(tmp_path: Path, jpeg_folder: Callable[..., Path]) -> Callable[..., RefreshPlan]:
    """Plan maps of a few JPEGs by a network that takes its time: `seconds` a batch of 2."""
    module = tmp_path / "slow.py"
    module.write_text(SLOW_NETWORK)
    network = NetworkSource(name=f"{module}:build", num_classes=3, options={"seconds": "0.0"})

    def plan(name: str, seconds: float, num: int = 10) -> RefreshPlan:
        folder = tmp_path / f"photos{num}"
        if not folder.exists():
            jpeg_folder(folder.name, num)
        options = RefreshOptions(size=16, batch_size=2, block_rows=4, chunk_rows=4)
        slow = NetworkSource(name=network.name, num_classes=3, options={"seconds": str(seconds)})
        return plan_refresh(DataSource(name=str(folder)), slow, tmp_path / name, options)

    return plan


def _kill_worker(rng: random.Random) -> bool:
    """SIGKILL one of the embedded workers."""
    workers = _workers()
    if workers:
        os.kill(rng.choice(workers), signal.SIGKILL)
    return bool(workers)


def _workers() -> list[int]:
    """Return the embedded workers; Python's own list of them would take their exit from Dask."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            if "spawn_main" in " ".join(child.cmdline()):  # a zombie has no words
                found.append(child.pid)
    return found


def test_a_killed_worker_costs_its_block_only(slow_plan: Callable[..., RefreshPlan]) -> None:
    quiet = execute(slow_plan("quiet", 0.0)).generation
    killed: list[bool] = []

    def kill(state: RefreshProgress) -> None:
        if state.blocks_done == 2 and not killed:
            killed.append(_kill_worker(random.Random(0)))

    report = execute(
        slow_plan("killed", 0.05), DaskExecutor(ClusterOptions(workers=2)), progress=kill
    )
    assert killed == [True]
    assert _maps(report.generation) == _maps(quiet)


def test_a_block_that_kills_its_workers_is_named_and_the_job_ends(
    tmp_path: Path, jpeg_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "ALLOWED_FAILURES", 0)
    monkeypatch.setattr(dask_executor, "MAX_KILLED", 1)
    module = tmp_path / "deadly.py"
    module.write_text(SLOW_NETWORK.replace("time.sleep(self.seconds)", DIE_IN_A_WORKER))
    network = NetworkSource(name=f"{module}:build", num_classes=3, options={"seconds": "0"})
    source = DataSource(name=str(jpeg_folder("few", 2)))
    plan = plan_refresh(source, network, tmp_path / "c", RefreshOptions(size=16))
    with pytest.raises(
        BlocksFailed, match=r"block 0 .*every worker that computed rows 0 to 5 died.*more memory"
    ):
        execute(plan, DaskExecutor(ClusterOptions(workers=1)))


def _maps(generation: Any) -> bytes:  # noqa: ANN401
    return bytes(generation.saliency[:].tobytes())


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start programs of the environment that end with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: object, **options: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401
        program, *rest = (str(word) for word in words)
        path = shutil.which(program, path=os.path.dirname(sys.executable))  # noqa: PTH120
        assert path is not None
        process = subprocess.Popen([path, *rest], cwd=tmp_path, start_new_session=True, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_lost_scheduler_ends_the_job_where_it_can_be_resumed(
    tmp_path: Path,
    slow_plan: Callable[..., RefreshPlan],
    start_process: Callable[..., subprocess.Popen[bytes]],
) -> None:
    file = tmp_path / "scheduler.json"
    place = ("--scheduler-file", file)
    scheduler = start_process("dask", "scheduler", *place, "--port", 0, "--dashboard-address", ":0")
    start_process("dask", "worker", *place, "--nthreads", 1, "--no-dashboard", "--no-nanny")

    def lose(state: RefreshProgress) -> None:
        if state.blocks_done == 1:
            scheduler.kill()

    executor = DaskExecutor(ClusterOptions(scheduler_file=str(file)))
    with pytest.raises(Stopped, match=r"scheduler is lost.*start a cluster and run the same"):
        execute(slow_plan("lost", 0.3), executor, progress=lose)
    report = execute(slow_plan("lost", 0.3))
    assert report.num_rows_found >= 4
    assert _maps(report.generation) == _maps(execute(slow_plan("quiet", 0.0)).generation)


def test_sigterm_to_the_whole_group_ends_with_75_and_leaves_no_process(
    tmp_path: Path,
    slow_plan: Callable[..., RefreshPlan],
    start_process: Callable[..., subprocess.Popen[bytes]],
) -> None:
    plan = slow_plan("terminated", 0.3)
    log = tmp_path / "log.jsonl"
    words = (
        "refresh", "--data", plan.data.name, "--cache", plan.cache, "--network", plan.network.name,
        "--network-option", "seconds=0.3", "--weights", "random", "--size", 16, "--batch-size", 2,
        "--block-rows", 4,
    )  # fmt: skip
    job = start_process(
        "scae", *words, "--workers", 2, "--log-json", log, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 120
    receipts = tmp_path / "terminated" / RECEIPTS
    while not list(receipts.glob("*/*.json")):
        assert job.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    os.killpg(job.pid, signal.SIGTERM)
    assert job.wait(60) == 75
    assert '"event": "stopped"' in log.read_text()
    # Python's own resource tracker ends when it sees that nobody is left.
    while _group_lives(job.pid):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert SaliencyStore.open(plan.cache).generations() == ()
    assert execute(plan).num_rows_found >= 4


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.torture
def test_every_way_to_kill_workers_ends_with_the_digest_of_an_undisturbed_run(
    slow_plan: Callable[..., RefreshPlan], open_torture_log: Callable[..., TortureLog]
) -> None:
    quiet = execute(slow_plan("quiet", 0.5, 80)).generation
    log = open_torture_log("chaos", "pipeline/refresh")
    for case in log.todo(LONG_ROUNDS):
        how, number = case.split()
        plan = slow_plan(f"{how}-{number}", 0.5, 80)
        executor = DaskExecutor(ClusterOptions(workers=CHAOS_WORKERS))
        report = _run_disturbed(plan, executor, how, random.Random(case))
        assert report == quiet.digest, case


def _run_disturbed(plan: RefreshPlan, executor: DaskExecutor, how: str, rng: random.Random) -> str:
    """Run a job whose workers live for a few seconds each; return its digest."""
    over = threading.Event()
    planted: list[bool] = []
    lived: set[int] = set()

    def disturb() -> None:
        while not over.wait(rng.expovariate(1 / 3.0)):
            _kill_worker(rng)

    def watch(state: RefreshProgress) -> None:
        lived.update(_workers())
        if how == "sigkill" and executor.address is not None and not killer.is_alive():
            killer.start()
        if how != "sigkill" and state.blocks_done and not planted and executor.address is not None:
            planted.append(True)
            with Client(executor.address, set_as_default=False) as client:
                client.register_plugin(KillWorker("6 s", mode=how))

    killer = threading.Thread(target=disturb)
    try:
        report = execute(plan, executor, progress=watch)
    finally:
        over.set()
        if killer.is_alive():
            killer.join()
    assert len(lived) > CHAOS_WORKERS, "no worker has died and been replaced"
    return report.generation.digest
