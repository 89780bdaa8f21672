"""What view, centre and erasing add to loading a JPEG, beside torchvision's own erasing.

Run: .venv/bin/python -P benchmarks/jpeg_overhead.py FOLDER  (class folders of photographs)

CPU time of one thread, every sample erased. Three pipelines, each alone, with v2.RandomErasing(p=1)
and with SCAE through `ScaeDataset` and a real cache: the standard one (keyed draws, a batch at a
time), torchvision's v2 through `build_transform`, and the same with RandAugment. Rounds are
interleaved, in changing order; a difference is taken within its round. All ways of a pipeline load
the same crops.

Differences of milliseconds are noisy on a shared machine, so what is added is timed by itself too:
after loading (events, maps, centres, sides, boxes, erasing) within the very batches of the rounds,
and following the view on images of 24 x 32 pixels, beside a run without it of the same numbers.
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from loaders.batches import BatchKey
from loaders.followed_transform import build_transform
from loaders.geometry import ResizedCropFlip
from loaders.image_data import ImageData
from loaders.named_data import open_data
from loaders.policy import ScaePolicy
from loaders.randomness import KeyedStream
from loaders.scae_dataset import ScaeDataset
from loaders.transforms import SEED_RANGE, StandardTransform, Transform, _write_affine
from loaders.view import View
from loaders.view_batch import ViewBatch
from pipeline import refresh_from_network
from pipeline.refresh.sources import NetworkSource

SIZE, MEAN, STD = 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EPOCH = 99
Call = Callable[[], object]


def pipeline(*, augment: bool = False, erase: bool = False) -> v2.Compose:
    """Return ImageNet's training pipeline in torchvision's terms."""
    steps: list[torch.nn.Module] = [v2.RandomResizedCrop(SIZE), v2.RandomHorizontalFlip()]
    steps += [v2.RandAugment()] if augment else []
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    return v2.Compose(steps + ([v2.RandomErasing(p=1.0)] if erase else []))


def key(num: int) -> BatchKey:
    """Return the key of the first images in order, in the last epoch: lambda is 2."""
    rows = np.arange(num)
    return BatchKey(epoch=EPOCH, generation=1, step=0, indices=rows, draws=0 * rows)


def stream(num: int) -> KeyedStream:
    """Return the stream that `ScaeDataset` gives to a transform."""
    rows = np.arange(num)
    return KeyedStream(0, EPOCH, rows, 0 * rows, "geometry")


def plain_v2(data: ImageData, num: int, steps: v2.Compose) -> Call:
    """Return a call that loads a batch through torchvision alone, seeded as ours."""

    def load() -> Tensor:
        images = []
        for row, value in enumerate(stream(num).random((num, 1))[:, 0]):
            torch.default_generator.manual_seed(int(value * SEED_RANGE))
            pixels = torch.from_numpy(data.read(row)).permute(2, 0, 1)
            images.append(steps(tv_tensors.Image(pixels)).as_subclass(Tensor))
        return torch.stack(images)

    return load


def plain_standard(data: ImageData, num: int, *more: torch.nn.Module) -> Call:
    """Return a call that decodes, crops, flips and normalises a batch, without any view."""
    geometry = ResizedCropFlip(SIZE)
    affine = StandardTransform(geometry=geometry, mean=MEAN, std=STD)._affine()

    def load() -> Tensor:
        images = [data.read(row) for row in range(num)]
        sizes = np.array([image.shape[:2] for image in images], np.int64)
        params = geometry.draw(sizes, stream(num))
        pixels = [geometry.apply_image(image, params, row) for row, image in enumerate(images)]
        batch = torch.empty((num, 3, SIZE, SIZE))
        for image, output in zip(pixels, batch, strict=True):
            _write_affine(np.ascontiguousarray(image.transpose(2, 0, 1)), affine, output)
        for step in more:
            for row in range(num):
                batch[row] = step(batch[row])
        return batch

    return load


class Watched:
    """A transform that adds up the CPU time of its loading."""

    def __init__(self, transform: Transform) -> None:
        self._transform, self.size, self.seconds = transform, transform.size, 0.0

    def load(
        self, data: ImageData, indices_B: NDArray[np.int64], stream: KeyedStream
    ) -> tuple[Tensor, ViewBatch]:
        """Return what the transform does."""
        begun = time.thread_time()
        loaded = self._transform.load(data, indices_B, stream)
        self.seconds += time.thread_time() - begun
        return loaded


@dataclass
class Scae:
    """Loads a batch as training does, and notes what comes after the images are loaded."""

    dataset: ScaeDataset
    watched: Watched
    num: int
    after: list[float] = field(default_factory=list)
    """us a sample, one a call."""

    def __call__(self) -> None:
        """Load one batch."""
        self.watched.seconds = 0.0
        seconds = cpu_seconds(lambda: self.dataset.batch(key(self.num)))
        self.after.append((seconds - self.watched.seconds) / self.num * 1e6)


def scae(data: ImageData, num: int, cache: str, transform: Transform, policy: ScaePolicy) -> Scae:
    """Return the call that loads a batch with SCAE."""
    watched = Watched(transform)
    return Scae(ScaeDataset(data, cache, policy, watched, generation=1), watched, num)


def following(steps: v2.Compose, checked: torch.nn.Module) -> float:
    """Return what following a view adds, us a sample: a median over pairs of 64 small images."""
    image = tv_tensors.Image(torch.zeros((3, 24, 32), dtype=torch.uint8))
    without: Call = lambda: [steps(image) for _ in range(64)]  # noqa: E731
    beside: Call = lambda: [checked(image, View.whole((24, 32))) for _ in range(64)]  # noqa: E731
    added = []
    for seed in range(60):
        spent = []
        for call in (without, beside):
            torch.default_generator.manual_seed(seed)
            spent.append(cpu_seconds(call))
        added.append((spent[1] - spent[0]) / 64 * 1e6)
    return statistics.median(added)


def making_views(data: ImageData, num: int) -> float:
    """Return what the standard transform's views cost, us a sample."""
    geometry = ResizedCropFlip(SIZE)
    sizes = np.array([data.read(row).shape[:2] for row in range(num)], np.int64)
    params = geometry.draw(sizes, stream(num))
    spent = [cpu_seconds(lambda: geometry.views(params, sizes)) for _ in range(60)]
    return statistics.median(spent) / num * 1e6


def cpu_seconds(call: Call) -> float:
    """Time one call."""
    begun = time.thread_time()
    call()
    return time.thread_time() - begun


def make_ways(
    data: ImageData, num: int, cache: str
) -> tuple[dict[str, dict[str, Call]], dict[str, float]]:
    """Return for each pipeline its three ways, and what its views cost, us a sample."""
    policy = ScaePolicy(
        num_epochs=EPOCH + 1, class_counts=data.class_counts.tolist(), class_aware=False, p_max=1.0
    )
    standard = StandardTransform(geometry=ResizedCropFlip(SIZE), mean=MEAN, std=STD)
    ways: dict[str, dict[str, Call]] = {
        "StandardTransform": {
            "alone": plain_standard(data, num),
            "with v2.RandomErasing": plain_standard(data, num, v2.RandomErasing(p=1.0)),
            "with SCAE": scae(data, num, cache, standard, policy),
        }
    }
    views = {"StandardTransform": making_views(data, num)}
    for augment, short in ((False, "torchvision v2"), (True, "torchvision v2 with RandAugment")):
        name = f"{short}, build_transform"
        followed = build_transform(pipeline(augment=augment), size=SIZE)
        views[name] = following(pipeline(augment=augment), followed._pipeline)
        ways[name] = {
            "alone": plain_v2(data, num, pipeline(augment=augment)),
            "with v2.RandomErasing": plain_v2(data, num, pipeline(augment=augment, erase=True)),
            "with SCAE": scae(data, num, cache, followed, policy),
        }
    return ways, views


def report(name: str, times: dict[str, list[float]], after: list[float], view: float) -> None:
    """Print one pipeline's table, us a sample."""
    print(f"\n| {name} | us a sample | quartiles | added us (quartiles) | added share |")
    print("| --- | --- | --- | --- | --- |")
    alone = times["alone"]
    for way, values in times.items():
        low, middle, high = statistics.quantiles(values, n=4)
        line = f"| {way} | {middle:.0f} | {low:.0f} to {high:.0f} |"
        if way == "alone":
            line += " | |"
        else:
            added = [a - b for a, b in zip(values, alone, strict=True)]
            shares = [a / b for a, b in zip(added, alone, strict=True)]
            first, half, last = statistics.quantiles(added, n=4)
            line += f" {half:.0f} ({first:.0f} to {last:.0f}) |"
            line += f" {statistics.median(shares) * 100:.1f} % |"
        print(line)
    middle, work = statistics.median(alone), statistics.median(after)
    share = (work + view) / middle * 100
    print(
        f"\nSCAE timed by itself: view {view:.1f} us, all after loading {work:.1f} us "
        f"({' to '.join(f'{value:.0f}' for value in statistics.quantiles(after, n=4)[::2])}): "
        f"{share:.1f} % of loading alone"
    )


def main() -> None:
    """Print a table for each pipeline."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    whole = open_data(arguments.folder)
    num = min(arguments.images, len(whole))
    data = whole.subset(np.arange(num))
    print(f"{num} photographs at {SIZE}x{SIZE}, CPU time of one thread, {arguments.rounds} rounds")
    print(
        f"python {platform.python_version()}, torch {version('torch')}, "
        f"torchvision {version('torchvision')}, simplejpeg {version('simplejpeg')}"
    )
    with tempfile.TemporaryDirectory() as folder:
        cache = f"{folder}/maps.zarr"
        network = NetworkSource(name="torchvision:resnet18", num_classes=data.num_classes)
        built = network.build().module
        refresh_from_network(built, data, cache, size=SIZE, mean=MEAN, std=STD)
        pipelines, views = make_ways(data, num, cache)
        times: dict[str, dict[str, list[float]]] = {
            name: {way: [] for way in ways} for name, ways in pipelines.items()
        }
        for number in range(arguments.rounds + 1):
            for name, ways in pipelines.items():
                # Each way comes first, second and third equally often.
                order = [*ways.items()][number % 3 :] + [*ways.items()][: number % 3]
                for way, call in order:
                    value = cpu_seconds(call) / num * 1e6
                    if number:  # the first round warms up
                        times[name][way].append(value)
    for name, ways_times in times.items():
        last = pipelines[name]["with SCAE"]
        report(name, ways_times, last.after[1:] if isinstance(last, Scae) else [], views[name])


if __name__ == "__main__":
    main()
