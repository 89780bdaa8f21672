"""What SCAE adds to training on CIFAR-10-LT: by shares of processor time, and block by block.

Run: .venv/bin/python -P benchmarks/training_overhead.py FOLDER
(FOLDER holds CIFAR-10 as class folders, train/ and test/)

Three measurements, one after another in one process:

1. A run of ResNet-32, imbalance 100, by the trainer itself. Processor time of the whole process
   (all threads) in each epoch and each refresh, and of SCAE's own code as the trainer accounts for
   it; what remains of an epoch is the plain step.
2. Blocks of 50 steps with SCAE and without any method, in turn and in changing order, on the same
   network: the difference within a pair holds what is not timed by itself (sending, counting). Its
   interval is a bootstrap over pairs.
3. A stand-in for a network on a GPU: the loop sleeps as long as a batch takes at 1,000 and 3,000
   images/s. Share of the time in which the loop waits for data.
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from loaders.batches import Batch
from loaders.methods.method import Method
from loaders.scae_loader import ScaeLoader
from pipeline.bench.rounds import interleaved
from pipeline.training.accounts import INTERVALS
from pipeline.training.epoch import _forward, _loss
from pipeline.training.first_stage import first_stage
from pipeline.training.recipe import Recipe
from pipeline.training.recipe_file import load_recipe
from pipeline.training.run_folder import RunFolder
from pipeline.training.setup import RunParts, build_parts, run_loader
from pipeline.training.stage import Stage
from pipeline.training.trainer import TrainOptions, train

STEPS = 50
"""Steps of a block."""
RESAMPLES = 10_000
"""Of the bootstrap."""
SPEEDS = (1_000, 3_000)
"""Images/s of the stand-in."""
WAITED_BATCHES = 40
"""Batches that the stand-in takes a round."""


def make_recipe(arguments: argparse.Namespace, precision: str, workers: int = 0) -> Recipe:
    """Return the run: the paper's long-tailed setting, with refreshes every `interval` epochs."""
    return load_recipe(
        None,
        [
            f"data.name={arguments.folder}", "data.imbalance=100", "data.evaluate=false",
            f"network.name={arguments.network}", f"train.epochs={arguments.epochs}",
            f"train.precision={precision}",
            f"refresh.precision={arguments.refresh_precision or precision}",
            f"refresh.interval={arguments.interval}", f"train.workers={workers}",
        ],
    )  # fmt: skip


@dataclass
class Clock:
    """Takes the processor time of the parts of a run, by what the trainer shows of them."""

    epochs: list[float] = field(default_factory=list)
    """Seconds of each epoch's training."""
    refreshes: list[float] = field(default_factory=list)
    """Seconds of each refresh."""

    def __call__(self, label: str) -> Callable[[int, int], None]:
        """Begin an epoch, or a refresh; each step of it moves its end."""
        kind = self.epochs if label.startswith("epoch") else self.refreshes
        kind.append(0.0)
        begun = time.process_time()

        def show(_done: int, _total: int) -> None:
            kind[-1] = time.process_time() - begun

        return show


def instrumented(recipe: Recipe, run: Path, interval: int) -> None:
    """Print what each part of a run takes, and the overhead for several R."""
    clock = Clock()
    folder = train(recipe, TrainOptions(run=run, log=lambda _line: None, progress=clock))
    rows = metrics_rows(folder)
    code = [row["seconds_method"] for row in rows]
    plain = [whole - own for whole, own in zip(clock.epochs, code, strict=True)]
    loader = [own / rest for own, rest in zip(code, plain, strict=True)]
    images = sum(row["images_per_second"] * row["seconds_train"] for row in rows) / len(rows)
    print(f"\n{len(rows)} epochs of {images:,.0f} images, R = {interval}")
    print("\n| | processor time | of a plain epoch |\n| --- | --- | --- |")
    for name, values in (("plain epoch", plain), ("SCAE's code", code)):
        shares = [value / statistics.fmean(plain) for value in values]
        print(f"| {name} | {spread(values, 's')} | {spread(shares, '%')} |")
    refresh = [value / statistics.fmean(plain) for value in clock.refreshes]
    print(f"| a refresh | {spread(clock.refreshes, 's')} | {spread(refresh, '%')} |")
    mean = statistics.fmean(loader)
    print(f"\nloader side {mean:.2%} of the plain step (largest of an epoch {max(loader):.2%})")
    for number in INTERVALS:
        print(f"overhead with R = {number}: {mean + statistics.fmean(refresh) / number:.2%}")
    wall = [row["seconds_train"] for row in rows]
    waited = [row["seconds_wait"] / row["seconds_train"] for row in rows]
    print(
        f"wall time of an epoch {spread(wall, 's')}, data wait {spread(waited, '%')}, "
        f"{images / statistics.median(wall):,.0f} images/s"
    )


def metrics_rows(folder: RunFolder) -> list[dict[str, float]]:
    """Return the timed columns of metrics.csv."""
    timed = ("seconds_train", "seconds_method", "seconds_wait", "images_per_second")
    return [{name: float(row[name]) for name in timed} for row in folder.metrics()]


def endless(loader: ScaeLoader, epoch: int, generation: int) -> Iterator[Batch]:
    """Yield the batches of an epoch again and again."""
    while True:
        loader.set_epoch(epoch, generation)
        yield from loader


def other_loader(parts: RunParts, method: Method | None) -> ScaeLoader:
    """Return a loader of the run with another method."""
    return run_loader(parts.recipe, parts.train_data, parts.built, method, parts.size, parts.cache)


def block(parts: RunParts, stage: Stage, batches: Iterator[Batch], epoch: int) -> None:
    """Train 50 steps, as the trainer does."""
    for _ in range(STEPS):
        logits, labels = _forward(parts, stage, next(batches), epoch)
        loss, _ = _loss(stage, logits, labels, epoch)
        loss.backward()  # type: ignore[no-untyped-call]
        stage.update()
        float(loss.detach())


def alternated(parts: RunParts, generation: int, pairs: int) -> None:
    """Print what SCAE adds to blocks of steps, by the processor's clock and by the wall's."""
    stage, epoch = first_stage(parts), parts.recipe.train.epochs - 1
    stage.begin_epoch(epoch)
    loaders = {"plain": other_loader(parts, None), "SCAE": parts.loader}
    batches = {name: endless(loader, epoch, generation) for name, loader in loaders.items()}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in batches}
    for number in range(-1, pairs):  # the first pair warms up
        for name in list(batches)[:: -1 if number % 2 else 1]:
            begun = time.process_time(), time.perf_counter()
            block(parts, stage, batches[name], epoch)
            spent = time.process_time() - begun[0], time.perf_counter() - begun[1]
            if number >= 0:
                seconds[name].append(spent)
    print(f"\n{pairs} pairs of blocks of {STEPS} steps, lambda {parts.guidance(epoch):.2f}:")
    for place, clock in enumerate(("processor time", "wall time")):
        plain, ours = (np.array([spent[place] for spent in seconds[n]]) for n in ("plain", "SCAE"))
        added = ours / plain - 1
        rng = np.random.default_rng(0)
        means = added[rng.integers(0, pairs, (RESAMPLES, pairs))].mean(1)
        low, high = np.quantile(means, (0.025, 0.975))
        print(
            f"{clock}: plain {spread(plain.tolist(), 's')}, SCAE adds {added.mean():+.2%} "
            f"(95 % interval {low:+.2%} to {high:+.2%})"
        )


def waiting(parts: RunParts, generation: int, rounds: int) -> None:
    """Print how long a loop waits for data whose network takes no processor."""
    epoch = parts.recipe.train.epochs - 1
    size = parts.recipe.train.batch_size
    print("\n| stand-in | plain, waits | SCAE, waits |\n| --- | --- | --- |")
    for speed in SPEEDS:
        shares: dict[str, list[float]] = {"plain": [], "SCAE": []}
        loaders = {"plain": other_loader(parts, None), "SCAE": parts.loader}

        def contender(name: str, pause: float) -> Callable[[], None]:
            batches = endless(loaders[name], epoch, generation)  # noqa: B023  # used before it turns
            next(batches)

            def loop() -> None:
                waited, begun = 0.0, time.perf_counter()
                for _ in range(WAITED_BATCHES):
                    asked = time.perf_counter()
                    next(batches)
                    waited += time.perf_counter() - asked
                    time.sleep(pause)
                shares[name].append(waited / (time.perf_counter() - begun))  # noqa: B023

            return loop

        contenders = {name: contender(name, size / speed) for name in loaders}
        interleaved(contenders, rounds, warm_up=0)
        told = " | ".join(spread(values, "%") for values in shares.values())
        print(f"| {speed:,} images/s, {parts.loader.num_workers} workers | {told} |")


def spread(values: list[float], unit: str) -> str:
    """Write a median with its range."""
    middle, low, high = statistics.median(values), min(values), max(values)
    if unit == "%":
        return f"{middle:.2%} ({low:.2%} to {high:.2%})"
    return f"{middle:.2f} {unit} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Print the three measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", default="resnet32")
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--interval", type=int, default=4)
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument(
        "--refresh-precision", choices=["auto", "fp32", "bf16"], help="[default: as --precision]"
    )
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    arguments.folder = arguments.folder.absolute()
    print(
        f"python {platform.python_version()}, torch {version('torch')}, "
        f"torchvision {version('torchvision')}, numpy {version('numpy')}, "
        f"{torch.get_num_threads()} threads, {arguments.network}, precision {arguments.precision} "
        f"(maps: {arguments.refresh_precision or arguments.precision}); "
        "medians, smallest and largest"
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        recipe = make_recipe(arguments, arguments.precision)
        instrumented(recipe, run, arguments.interval)
        cache = RunFolder(run).cache
        parts = build_parts(recipe, cache)
        generation = parts.loader.set_epoch(0)
        alternated(parts, generation, arguments.pairs)
        for workers in (0, 1):
            parts = build_parts(make_recipe(arguments, arguments.precision, workers), cache)
            waiting(parts, generation, arguments.rounds)


if __name__ == "__main__":
    main()
