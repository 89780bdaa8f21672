"""Drawing centres by Eq. 4: ours against evaluating it at every pixel, in interleaved rounds.

Run: .venv/bin/python -P benchmarks/centres.py

CPU time of one thread, a batch of 256 maps of 7x7 at 224x224. The ways that evaluate every pixel
are run a sample at a time, as a transform in a data set does, and a batch at a time.
"""

import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from loaders.centres import exact_gains, sample_centres
from loaders.geometry import ResizedCropFlip
from loaders.randomness import KeyedStream
from loaders.view import View
from loaders.view_batch import ViewBatch

BATCH, SIDE, SIZE = 256, 7, (224, 224)
ROUNDS = 15
SLOW_SAMPLES = 16
"""A way that takes a millisecond a sample is timed on these alone."""

VIEWS = ("whole", "resized crop", "turned")

Maps = NDArray[np.uint8]


def make_maps(kind: str) -> Maps:
    """Return (B, 7, 7) maps whose maximum is 255, as Grad-CAM's are."""
    rng = np.random.default_rng(0)
    if kind == "noise":
        values = rng.random((BATCH, SIDE, SIDE))
    else:
        y, x = np.mgrid[:SIDE, :SIDE]
        centre = rng.uniform(1, SIDE - 2, (2, BATCH, 1, 1))
        width = {"objects": 1.6, "small objects": 0.6}[kind]
        values = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * width**2))
    return np.rint(values / values.max(axis=(1, 2), keepdims=True) * 255).astype(np.uint8)


def views(kind: str) -> ViewBatch | None:
    """Return what a training pipeline leads to."""
    stream = KeyedStream(0, 0, np.arange(BATCH), np.zeros(BATCH, np.int64), "geometry")
    if kind == "whole":
        return None
    sizes = np.tile((375, 500), (BATCH, 1))
    geometry = ResizedCropFlip(SIZE[0])
    if kind == "resized crop":
        return geometry.views(geometry.draw(sizes, stream), sizes)
    cut = functional.crop(View.whole((375, 500)), 20, 30, 300, 300)
    resized = functional.resize(cut, list(SIZE))
    angles = stream.random((BATCH, 1))[:, 0] * 60 - 30
    return ViewBatch.stack([functional.rotate(resized, angle) for angle in angles.tolist()])


def ours(maps: Maps, lam: float, placed: ViewBatch | None) -> Callable[[], object]:
    """Return a call that draws a batch, with stored gains."""
    gains, floors = exact_gains(maps, SIZE)
    rows = np.arange(BATCH)

    def draw() -> object:
        stream = KeyedStream(0, 0, rows, 0 * rows, "centre")
        return sample_centres(maps, SIZE, lam, stream, gains=gains, floors=floors, views=placed)

    return draw


def softmax_in_torch(maps: Maps, lam: float) -> torch.Tensor:
    """Return one centre a map: upsample, normalise, softmax, multinomial."""
    values = torch.from_numpy(maps).float().div(255)[:, None]
    upsampled = torch.nn.functional.interpolate(values, SIZE, mode="bilinear").flatten(1)
    low, high = upsampled.amin(1, keepdim=True), upsampled.amax(1, keepdim=True)
    probability = torch.softmax(lam * (upsampled - low) / (high - low), dim=1)
    return torch.multinomial(probability, 1)


def one_by_one(maps: Maps, lam: float) -> Callable[[], object]:
    """Return the calls for some samples, one at a time."""
    return lambda: [softmax_in_torch(maps[row : row + 1], lam) for row in range(SLOW_SAMPLES)]


def cpu_seconds(call: Callable[[], object]) -> float:
    """Time one call."""
    begun = time.thread_time()
    call()
    return time.thread_time() - begun


def measure(ways: dict[str, tuple[Callable[[], object], int]]) -> dict[str, list[float]]:
    """Return microseconds a sample, for each way a list over interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for call, _ in ways.values():
        call()
    for _ in range(ROUNDS):
        for name, (call, num) in ways.items():
            times[name].append(cpu_seconds(call) / num * 1e6)
    return times


def main() -> None:
    """Print one table of rivals and one of our own cases."""
    torch.set_num_threads(1)
    print(f"{BATCH} maps of {SIDE}x{SIDE} at {SIZE[0]}x{SIZE[1]}, us a sample, {ROUNDS} rounds")
    print(
        f"python {platform.python_version()}, numpy {version('numpy')}, torch {version('torch')}, "
        f"torchvision {version('torchvision')}"
    )
    maps = make_maps("objects")
    print("\n| way, lambda 2 | median | quartiles | against ours |\n| --- | --- | --- | --- |")
    erase, image = v2.RandomErasing(p=1.0), torch.zeros((3, *SIZE))
    times = measure(
        {
            "ours, a batch": (ours(maps, 2.0, None), BATCH),
            "upsample + softmax + multinomial, one by one": (one_by_one(maps, 2.0), SLOW_SAMPLES),
            "upsample + softmax + multinomial, 16 at once": (
                lambda: softmax_in_torch(maps[:SLOW_SAMPLES], 2.0),
                SLOW_SAMPLES,
            ),
            "v2.RandomErasing, box and erasing together": (
                lambda: [erase(image) for _ in range(SLOW_SAMPLES)],
                SLOW_SAMPLES,
            ),
        }
    )
    limit = times["ours, a batch"]
    for name, values in times.items():
        low, middle, high = statistics.quantiles(values, n=4)
        ratio = statistics.median(a / b for a, b in zip(values, limit, strict=True))
        print(f"| {name} | {middle:.1f} | {low:.1f} to {high:.1f} | {ratio:.1f} |")
    print("\n| ours, us a sample | " + " | ".join(VIEWS) + " |")
    print("| --- |" + " --- |" * len(VIEWS))
    for kind in ("objects", "small objects", "noise"):
        for lam in (0.5, 2.0, -2.0, 8.0, 50.0):
            cases = {name: (ours(make_maps(kind), lam, views(name)), BATCH) for name in VIEWS}
            medians = [statistics.median(values) for values in measure(cases).values()]
            print(f"| {kind}, lambda {lam:g} | " + " | ".join(f"{m:.1f}" for m in medians) + " |")


if __name__ == "__main__":
    main()
