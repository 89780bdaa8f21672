"""What Dask costs: overhead a block against the plain loop, and 8 workers against one.

Run: .venv/bin/python -P benchmarks/refresh_dask.py

Overhead: the same blocks by the plain loop and by one Dask worker, interleaved. Each is run with
few blocks and with all, and the difference divided by the number of blocks more, so that start-up
cancels out. Speed-up: a network that only waits, as one on a GPU would, one second for each of 64
blocks; the time from the first result on, plus the second that it took.
"""

import argparse
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch
from distributed import LocalCluster
from torch import Tensor, nn

from loaders.image_data import ImageData
from pipeline.refresh.dask_cluster import ClusterOptions
from pipeline.refresh.dask_executor import DaskExecutor
from pipeline.refresh.executors import Executor
from pipeline.refresh.part import Part
from pipeline.refresh.parts import execute_part
from pipeline.refresh.plan import RefreshOptions, plan_refresh
from pipeline.refresh.progress import RefreshProgress
from pipeline.refresh.sources import DataSource, NetworkSource

SOURCE = DataSource(name="shapes")
BLOCK_ROWS = 12
"""2,988 images are 249 blocks."""
FEW = Part(1, 12)
"""21 of them."""
ALL = Part(1, 1)
TASK_SECONDS = 1.0
TASKS = 64


class Waiting(nn.Module):
    """A network that takes its time and no core."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3, stride=4)
        self.linear = nn.Linear(4, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Wait, then compute nearly nothing."""
        time.sleep(TASK_SECONDS)
        logits: Tensor = self.linear(self.features(images).mean((2, 3)))
        return logits


def waiting_network(num_classes: int) -> nn.Module:
    """Build it."""
    return Waiting(num_classes)


def time_part(data: ImageData, part: Part, executor: Executor | None) -> tuple[float, int]:
    """Return the seconds of a part's blocks, and their number."""
    network = NetworkSource(name="resnet8", num_classes=data.num_classes)
    options = RefreshOptions(
        batch_size=BLOCK_ROWS, block_rows=BLOCK_ROWS, chunk_rows=BLOCK_ROWS, decode_threads=1
    )
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_refresh(SOURCE, network, Path(folder) / "c", options, opened=data)
        begun = time.perf_counter()
        report = execute_part(plan, part, executor, opened=data)
        return time.perf_counter() - begun, report.num_blocks


def block_seconds(data: ImageData, executor: Executor | None) -> float:
    """Return the seconds that one block more takes."""
    few, num_few = time_part(data, FEW, executor)
    many, num_many = time_part(data, ALL, executor)
    return (many - few) / (num_many - num_few)


def measure_overhead(data: ImageData, rounds: int) -> None:
    """Print the overhead a block."""
    torch.set_num_threads(1)  # as the worker has
    overheads = []
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        place = ClusterOptions(scheduler=cluster.scheduler_address)
        for _ in range(rounds):
            loop = block_seconds(data, None)
            dask = block_seconds(data, DaskExecutor(place))
            overheads.append((dask - loop) * 1e3)
            print(f"a block: loop {loop * 1e3:.1f} ms, Dask {dask * 1e3:.1f} ms")
    quarters = statistics.quantiles(overheads, n=4)
    print(
        f"overhead a block: median {quarters[1]:.1f} ms "
        f"(quartiles {quarters[0]:.1f} to {quarters[2]:.1f}), {rounds} rounds"
    )


def time_waiting(data: ImageData, workers: int) -> float:
    """Return the seconds of the waiting tasks, all workers being ready."""
    moments: list[float] = []

    def note(state: RefreshProgress) -> None:
        while len(moments) < state.blocks_done:
            moments.append(time.perf_counter())

    network = NetworkSource(name=f"{__file__}:waiting_network", num_classes=data.num_classes)
    rows = -(-len(data) // TASKS)
    options = RefreshOptions(
        size=8, batch_size=rows, block_rows=rows, chunk_rows=rows, decode_threads=1
    )
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_refresh(SOURCE, network, Path(folder) / "c", options, opened=data)
        executor = DaskExecutor(ClusterOptions(workers=workers, memory_limit="2GiB"))
        report = execute_part(plan, ALL, executor, opened=data, progress=note)
    if report.num_blocks != TASKS or len(moments) != TASKS:
        raise RuntimeError(f"{report.num_blocks} blocks, {len(moments)} results, not {TASKS}")
    return moments[-1] - moments[0] + TASK_SECONDS


def measure_speed_up(data: ImageData, rounds: int) -> None:
    """Print how much faster 8 workers are than one."""
    ratios = []
    for _ in range(rounds):
        one, eight = time_waiting(data, 1), time_waiting(data, 8)
        ratios.append(one / eight)
        print(f"{TASKS} tasks of {TASK_SECONDS:.0f} s: 1 worker {one:.2f} s, 8 {eight:.2f} s")
    print(f"speed-up of 8 workers: median {statistics.median(ratios):.2f}, {rounds} rounds")


def main() -> None:
    """Print both figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--waiting-rounds", type=int, default=3)
    arguments = parser.parse_args()
    data = SOURCE.open()
    print(
        f"python {platform.python_version()}, torch {version('torch')}, "
        f"distributed {version('distributed')}"
    )
    if arguments.rounds:
        measure_overhead(data, arguments.rounds)
    if arguments.waiting_rounds:
        measure_speed_up(data, arguments.waiting_rounds)


if __name__ == "__main__":
    main()
