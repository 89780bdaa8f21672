"""Peak memory of a refresh's driver and worker, for 10,000 and for 1,000,000 samples.

Run: .venv/bin/python -P benchmarks/refresh_memory.py

The images are a formula of their row, the network is tiny: what is measured is the bookkeeping.
Each figure is the kernel's high-water mark of a fresh process.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from loaders.image_data import ImageData
from pipeline.refresh.dask_cluster import ClusterOptions
from pipeline.refresh.dask_executor import DaskExecutor
from pipeline.refresh.job import execute
from pipeline.refresh.plan import RefreshOptions, plan_refresh
from pipeline.refresh.progress import RefreshProgress
from pipeline.refresh.sources import DataSource, NetworkSource
from pipeline.refresh.summary import refresh_summary

SIDE = 8
"""Height and width of the images."""
NUM_CLASSES = 10


class FormulaData(ImageData):
    """Images that are computed from their row, so that a million of them takes no room."""

    def __init__(self, num: int) -> None:
        ids = np.arange(num, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1)
        super().__init__(
            name="formula",
            class_names=[f"class {label}" for label in range(NUM_CLASSES)],
            labels=np.arange(num) % NUM_CLASSES,
            sample_ids=ids,
            content_ids=ids,
        )
        self._pixels = np.random.default_rng(0).integers(0, 256, (256, SIDE, SIDE, 3), np.uint8)

    def describe(self, row: int) -> str:
        """Return how messages name the image."""
        return f"formula[{row}]"

    def read(self, row: int) -> NDArray[np.uint8]:
        """Return the image, (H, W, 3) uint8."""
        image_HWC: NDArray[np.uint8] = self._pixels[row % 256] ^ np.uint8(row // 256 % 256)
        return image_HWC


@dataclass(frozen=True, kw_only=True, slots=True)
class FormulaSource(DataSource):
    """Opens that data in a worker."""

    num: int = 0
    """Number of images."""

    def open(self) -> ImageData:
        """Open it."""
        return FormulaData(self.num)


def tiny_network(num_classes: int) -> nn.Module:
    """Build a network whose work does not hide anything."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, num_classes),
    )


def peak_bytes(process: int | str = "self") -> int:
    """Return a process's high-water mark of resident memory, 0 if it is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), "VmHWM: 0 kB")
    return int(line.split()[1]) * 1024


def measure(num: int, workers: int) -> dict[str, float]:
    """Run one refresh in this process and return its figures."""
    worker_peak = 0

    def watch(_state: RefreshProgress) -> None:
        nonlocal worker_peak
        pids = [child.pid for child in multiprocessing.active_children()]
        worker_peak = max([worker_peak, *(peak_bytes(pid) for pid in pids if pid)])

    begun = time.perf_counter()
    source = FormulaSource(name="formula", num=num)
    data = source.open()
    network = NetworkSource(name=f"{__file__}:tiny_network", num_classes=NUM_CLASSES)
    executor = DaskExecutor(ClusterOptions(workers=workers)) if workers else None
    with tempfile.TemporaryDirectory() as folder:
        options = RefreshOptions(size=SIDE, batch_size=1024, fsync=False)
        plan = plan_refresh(source, network, Path(folder) / "c", options, opened=data)
        report = execute(plan, executor, opened=data, progress=watch)
        driver_peak = peak_bytes()
        refresh_summary(report, data)
        return {
            "driver": driver_peak,
            "driver_with_summary": peak_bytes(),
            "worker": worker_peak,
            "seconds": time.perf_counter() - begun,
        }


def main() -> None:
    """Print a table, or with --one the figures of one run as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", type=int)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.workers)))
        return
    found: dict[tuple[int, int], dict[str, float]] = {}
    for workers in (0, 1):
        for num in (arguments.small, arguments.large):
            words = ["--one", str(num), "--workers", str(workers)]
            done = subprocess.run(
                [sys.executable, "-P", __file__, *words], stdout=subprocess.PIPE, check=True
            )
            found[workers, num] = json.loads(done.stdout)
            print(f"{num:,} samples, {workers} Dask workers: {found[workers, num]}")
    print(f"torch {version('torch')}, distributed {version('distributed')}; MB = 10^6 bytes")
    for workers, name in ((0, "driver"), (0, "driver_with_summary"), (1, "driver"), (1, "worker")):
        small, large = (found[workers, num][name] for num in (arguments.small, arguments.large))
        where = "Dask" if workers else "plain loop"
        print(
            f"{where}, {name}: {small / 1e6:.0f} MB -> {large / 1e6:.0f} MB, "
            f"ratio {large / small:.3f}, "
            f"{(large - small) / (arguments.large - arguments.small):.0f}"
            " bytes a sample"
        )


if __name__ == "__main__":
    main()
