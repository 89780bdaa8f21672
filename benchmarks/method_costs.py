"""What each augmentation costs beside loading alone, in microseconds a sample.

Every round makes one batch by each method in turn, in one process and one thread, as a loader's
worker has; the baseline is the same batch without a method. Processor time is taken, since waiting
for a turn on a busy machine is no cost of a method. Images are random and in memory: nothing is
decoded. KeepAugment by input gradients is the network's extra pass in the training process; it
and a training step beside it take so long that they are measured in fewer rounds.

Run: .venv/bin/python -P benchmarks/method_costs.py [--size 32|224] [--rounds 15]
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from loaders.batches import BatchKey
from loaders.geometry import CropFlip
from loaders.image_data import ArrayData
from loaders.methods.keep_augment import KeepAugment
from loaders.methods.method import Setting
from loaders.methods.registry import METHODS
from loaders.scae_dataset import ScaeDataset
from loaders.transforms import StandardTransform
from pipeline.bench.random_maps import publish_random_maps
from pipeline.saliency.networks import build_network
from pipeline.training.keep_salient import keep_salient

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
EPOCH, NUM_EPOCHS, NUM_CLASSES = 180, 200, 100
SMALL_SIDE = 64
BATCH = {True: 128, False: 32}
"""Samples a batch, by whether images are small."""
NETWORK_BATCH = 16
"""Samples a batch where a network runs."""
NETWORK_SHARE = 5
"""Rounds without a network for one with it."""
BASELINE = "none (crop, flip, normalise)"
MAP_SIDE = {True: 8, False: 7}
"""Side of a map, by whether images are small: ResNet-32 at 32 pixels, ResNet-50 at 224."""


def cases(size: int) -> dict[str, tuple[str, dict[str, object]]]:
    """Return method and options by the row's name."""
    small = size <= SMALL_SIDE
    grid: dict[str, object] = {} if small else {"period": (96, 224), "ratio": 0.6, "rotate": 360}
    square = 16 if small else 112
    return {
        "scae, lambda = 1.8": ("scae", {"p_min": 0.5, "tau": 0.0}),
        "scae, tail MixUp": ("scae", {}),
        "random_erasing, official": ("random_erasing", {}),
        "random_erasing, torchvision": ("random_erasing", {"law": "torchvision"}),
        "random_erasing, random fill": ("random_erasing", {"fill": "random"}),
        "cutout": ("cutout", {"length": square // 2}),
        "grid_mask": ("grid_mask", grid),
        "mixup": ("mixup", {}),
        "cutmix, prob 1": ("cutmix", {"prob": 1.0}),
        "saliencymix, prob 1": ("saliencymix", {"prob": 1.0}),
        "saliencymix, prob 1, per image": ("saliencymix", {"prob": 1.0, "per_image": True}),
        "saliencymix, prob 1, maps, per image": (
            "saliencymix",
            {"prob": 1.0, "per_image": True, "saliency": "maps"},
        ),
        "keepaugment, cut, maps": ("keepaugment", {"saliency": "maps", "length": square}),
        "keepaugment, paste RandAugment, maps": (
            "keepaugment",
            {"saliency": "maps", "mode": "paste", "length": square},
        ),
    }


def make_data(num: int, size: int) -> ArrayData:
    """Return random images of long-tailed classes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num, size, size, 3), np.uint8)
    shares = 0.01 ** (np.arange(NUM_CLASSES) / (NUM_CLASSES - 1))
    labels = rng.choice(NUM_CLASSES, num, p=shares / shares.sum())
    return ArrayData(images, labels, [f"class{k}" for k in range(NUM_CLASSES)], name="random")


def standard(size: int) -> StandardTransform:
    """Return crop, flip and normalise."""
    return StandardTransform(geometry=CropFlip(size), mean=MEAN, std=STD)


def make_ways(data: ArrayData, cache: Path, size: int) -> dict[str, Callable[[BatchKey], object]]:
    """Return what is timed, by the row's name; the first one is the baseline."""
    transform = standard(size)
    counts = tuple(data.class_counts.tolist())
    setting = Setting(num_epochs=NUM_EPOCHS, class_counts=counts, size=size, mean=MEAN, std=STD)
    ways: dict[str, Callable[[BatchKey], object]] = {
        BASELINE: ScaeDataset(data, cache, None, transform).batch
    }
    for row, (name, options) in cases(size).items():
        method = METHODS[name](**options).build(setting)
        ways[row] = ScaeDataset(data, cache, method, transform).batch
    return ways


def gradient_ways(data: ArrayData, size: int) -> dict[str, Callable[[BatchKey], object]]:
    """Return KeepAugment's extra pass by a network in training, and one training step of it."""
    small = size <= SMALL_SIDE
    name = "resnet32" if small else "torchvision:resnet18"
    network = build_network(name, num_classes=NUM_CLASSES).module
    network.train().to(memory_format=torch.channels_last)
    transform = standard(size)
    setting = Setting(num_epochs=1, class_counts=(1,), size=size, mean=MEAN, std=STD)
    keep = METHODS["keepaugment"](length=16 if small else 112).build(setting)  # type: ignore[call-arg]
    plain = ScaeDataset(data, None, None, transform)
    prepared = ScaeDataset(data, None, keep, transform)

    def step(key: BatchKey) -> None:
        images, labels = plain.batch(key)
        network.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]

    def kept(key: BatchKey) -> None:
        if isinstance(keep, KeepAugment):
            keep_salient(keep, network, prepared.batch(key), epoch=0, seed=0)

    return {f"training step of {name}": step, f"keepaugment, cut, gradients of {name}": kept}


def measure(
    ways: dict[str, Callable[[BatchKey], object]], data: ArrayData, batch: int, rounds: int
) -> dict[str, list[float]]:
    """Return seconds of processor time by row; each round makes one batch a row, in turn."""
    times: dict[str, list[float]] = {row: [] for row in ways}
    rng = np.random.default_rng(1)
    for number in range(-1, rounds):  # the first round warms up
        indices = rng.choice(len(data), batch, replace=False)
        key = BatchKey(
            epoch=EPOCH, generation=1, step=number + 1, indices=indices, draws=indices * 0
        )
        for row, make in ways.items():
            begun = time.process_time()
            make(key)
            if number >= 0:
                times[row].append(time.process_time() - begun)
    return times


def print_table(times: dict[str, list[float]], batch: int) -> None:
    """Print paired differences to the first row as medians and quartiles."""
    base, *others = times
    middle = statistics.median(times[base]) / batch * 1e6
    print("| method | us a sample | quartiles |\n| --- | --- | --- |")
    print(f"| {base} | {middle:.1f} | |")
    for row in others:
        pairs = zip(times[row], times[base], strict=True)
        costs = [(mine - plain) / batch * 1e6 for mine, plain in pairs]
        low, median, high = statistics.quantiles(costs, n=4)
        print(f"| {row} | +{median:.1f} | {low:.1f} to {high:.1f} |")


def main() -> None:
    """Print the table for one size of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    size, small = arguments.size, arguments.size <= SMALL_SIDE
    batch = BATCH[small]
    data = make_data(4096 if small else 256, size)
    print(
        f"{size}x{size}, batch {batch}, {arguments.rounds} rounds, epoch {EPOCH} of {NUM_EPOCHS}, "
        f"1 thread; python {platform.python_version()}, numpy "
        f"{np.__version__}, torch {torch.__version__}"
    )
    with tempfile.TemporaryDirectory() as folder:
        publish_random_maps(data, Path(folder) / "maps.zarr", size, MAP_SIDE[small])
        ways = make_ways(data, Path(folder) / "maps.zarr", size)
        print_table(measure(ways, data, batch, arguments.rounds), batch)
    few = max(2, arguments.rounds // NETWORK_SHARE)
    plain = ScaeDataset(data, None, None, standard(size)).batch
    print(f"\nthe same beside a network, batch {NETWORK_BATCH}, {few} rounds\n")
    ways = {BASELINE: plain} | gradient_ways(data, size)
    print_table(measure(ways, data, NETWORK_BATCH, few), NETWORK_BATCH)


if __name__ == "__main__":
    main()
