"""Memory of each process of a training run, epoch by epoch.

Run: .venv/bin/python -P benchmarks/training_memory.py

A small network on `shapes`, or on --data, with loader processes and a refresh every second epoch.
At the beginning of every epoch each process's resident memory is read: RSS, and the part of it that
belongs to it alone (USS; a worker shares pages with the trainer). The slope is a least-squares line
through the epochs from the fifth on: by then libraries, maps and batches have been touched.
"""

import argparse
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

from pipeline.training.recipe_file import load_recipe
from pipeline.training.trainer import TrainOptions, train

FIRST = 4
"""0-based epoch that the line begins at."""
UNIT = 1_000_000
"""Bytes of the figures' unit, MB."""


def memory(process: int | str) -> tuple[float, float] | None:
    """Return a process's RSS and USS in MB, None if it is gone."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return None
    fields = [line.split() for line in text.splitlines()[1:]]
    kilobytes = {words[0].rstrip(":"): int(words[1]) for words in fields}
    own = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return kilobytes["Rss"] * 1024 / UNIT, own * 1024 / UNIT


def children() -> list[int]:
    """Return the processes that this one has started."""
    files = Path("/proc/self/task").glob("*/children")
    return sorted(int(word) for file in files for word in file.read_text().split())


@dataclass
class Watch:
    """Reads memory whenever the trainer begins an epoch."""

    seen: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Process -> RSS and USS, one pair an epoch."""
    names: dict[int, str] = field(default_factory=dict)
    """Worker processes by number, in the order they were seen."""

    def __call__(self, label: str) -> Callable[[int, int], None]:
        """Take note in the middle of each epoch, when its workers are there."""
        noted = not label.startswith("epoch")

        def show(done: int, total: int) -> None:
            nonlocal noted
            if not noted and done >= total // 2:
                noted = True
                self.note()

        return show

    def note(self) -> None:
        """Read all processes."""
        found = {"trainer": memory("self")}
        for number in children():
            name = self.names.setdefault(number, f"process {len(self.names)}")
            found[name] = memory(number)
        for name, values in found.items():
            if values is not None:
                self.seen.setdefault(name, []).append(values)


def slope(values: list[float]) -> float:
    """Return the slope of a least-squares line, units an epoch."""
    return float(np.polynomial.polynomial.polyfit(np.arange(len(values)), values, 1)[1])


def main() -> None:
    """Print a line a process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--network", default="resnet8")
    arguments = parser.parse_args()
    recipe = load_recipe(
        None,
        [
            f"data.name={arguments.data}", "data.imbalance=100",
            f"network.name={arguments.network}", f"train.epochs={arguments.epochs}",
            f"train.workers={arguments.workers}", "refresh.interval=2",
        ],
    )  # fmt: skip
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train(recipe, TrainOptions(run=run, log=lambda _line: None, progress=watch))
    print(f"python {platform.python_version()}, torch {version('torch')}, {arguments.data}")
    print("\n| process | epoch | RSS, MB | USS, MB |\n| --- | --- | --- | --- |")
    for name, values in watch.seen.items():
        for epoch in sorted({0, FIRST, len(values) // 2, len(values) - 1}):
            if epoch < len(values):
                print(f"| {name} | {epoch} | {values[epoch][0]:.1f} | {values[epoch][1]:.1f} |")
    print("\n| process | epochs | RSS, MB | MB an epoch | USS, MB | MB an epoch |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, values in watch.seen.items():
        if len(values) > FIRST + 1:
            lines = [[pair[place] for pair in values[FIRST:]] for place in (0, 1)]
            told = [f"{min(v):.0f} to {max(v):.0f} | {slope(v):+.3f}" for v in lines]
            print(f"| {name} | {len(values)} | {' | '.join(told)} |")


if __name__ == "__main__":
    main()
