"""Images a second of the training loader: in memory and from JPEG, beside rivals and itself."""

import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from loaders.build import build_loader
from loaders.errors import DataError
from loaders.folder_data import FolderData
from loaders.geometry import CropFlip, ResizedCropFlip
from loaders.image_data import ArrayData, ImageData
from loaders.named_data import open_data
from loaders.policy import ScaePolicy
from loaders.transforms import StandardTransform
from pipeline.bench.jpeg_rivals import RIVALS, Batches, JpegTask, jpeg_rival
from pipeline.bench.random_maps import publish_random_maps
from pipeline.bench.rounds import Spread, interleaved, ratios
from pipeline.errors import BenchError

__all__ = ["LoaderFigures", "LoaderOptions", "environment", "measure_jpeg", "measure_memory"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's."""
SCAE = "scae"
PLAIN = "scae, no erasing"
MEMORY_SIDE = 32
"""CIFAR's images."""
MEMORY_BATCH = 256
MEMORY_CELLS, JPEG_CELLS = 8, 7
"""Sides of the maps of ResNet-32 at 32 pixels and of ResNet-50 at 224."""
MEMORY_SAMPLES = 32_768
"""Images of an epoch of ours; a rival that needs a sample's time for each loads an eighth."""


def _processor_seconds() -> float:
    """Return the processor time of this process and of its live worker processes."""
    total = time.process_time()
    for child in multiprocessing.active_children():
        try:
            # Behind the name in brackets: utime and stime are the 12th and 13th, in clock ticks.
            words = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError as error:
            raise BenchError(f"clock cpu needs Linux's /proc, got {error}: use wall") from error
        total += (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return total


CLOCKS = {"wall": time.perf_counter, "cpu": _processor_seconds}
"""Seconds from any origin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoaderOptions:
    """What is timed and how often."""

    rounds: int = 9
    """Timed rounds; every contender loads an epoch in each."""
    batch_size: int = 64
    """Of the JPEG part."""
    size: int = 224
    """Side of the JPEG part's output in pixels."""
    images: int = 400
    """JPEG files at most."""
    without: tuple[str, ...] = ()
    """Rivals left out."""
    clock: str = "wall"
    """'wall', or 'cpu' for the processor time of this process and its workers, which a busy machine
    disturbs less."""

    def __post_init__(self) -> None:
        if self.clock not in CLOCKS:
            raise BenchError(f"clock must be wall or cpu, got {self.clock!r}")
        unknown = sorted(set(self.without) - set(RIVALS))
        if unknown:
            raise BenchError(f"without must name {', '.join(RIVALS)}, got {', '.join(unknown)}")
        for name in ("batch_size", "size", "images"):
            if getattr(self, name) < 1:
                raise BenchError(f"{name} must be 1 or more, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoaderRow:
    """What one contender did."""

    name: str
    """For the table."""
    images_per_second: Spread
    """Over the rounds."""
    scae_over_it: Spread
    """Speed of ours with erasing over its own, paired by rounds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoaderFigures:
    """The figures of one part."""

    title: str
    """What was loaded."""
    rows: tuple[LoaderRow, ...]
    """Ours and the rivals."""
    absent: tuple[str, ...] = ()
    """Rivals that are not installed."""

    def fields(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return asdict(self)


def measure_memory(options: LoaderOptions, progress: Callable[[str], None]) -> LoaderFigures:
    """Time images of 32x32 held in memory: crop, flip, normalise, erase; one worker each."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (MEMORY_SAMPLES, MEMORY_SIDE, MEMORY_SIDE, 3), np.uint8)
    data = ArrayData(pixels, np.arange(MEMORY_SAMPLES) % 10, list("abcdefghij"), name="random")
    transform = StandardTransform(geometry=CropFlip(MEMORY_SIDE), mean=MEAN, std=STD)
    rival = _PerSample(data.images[: MEMORY_SAMPLES // 8])
    with tempfile.TemporaryDirectory(prefix="scae-bench-") as folder:
        contenders = {
            **_ours(data, transform, Path(folder), MEMORY_CELLS, MEMORY_BATCH),
            "torchvision v2, a sample at a time": _workers(rival, MEMORY_BATCH),
        }
        title = (
            f"{MEMORY_SAMPLES:,} images of {MEMORY_SIDE}x{MEMORY_SIDE} in memory, "
            f"batch {MEMORY_BATCH}"
        )
        return LoaderFigures(title=title, rows=_time(contenders, options, progress))


def measure_jpeg(
    folder: Path, options: LoaderOptions, progress: Callable[[str], None]
) -> LoaderFigures:
    """Time JPEG files: decode, resized crop, flip, normalise; one worker each.

    Args:
        folder: A data set folder, as for `open_data`.
        options: What is timed.
        progress: Called with the name of each contender that starts.

    Raises:
        BenchError: If the folder holds no JPEG files.
        DataError: If it is no data set.
    """
    data = _jpegs(open_data(folder), options.images)
    transform = StandardTransform(geometry=ResizedCropFlip(options.size), mean=MEAN, std=STD)
    with tempfile.TemporaryDirectory(prefix="scae-bench-") as place:
        task = JpegTask(
            paths=tuple(Path(data.describe(row)) for row in range(len(data))),
            labels=tuple(data.labels.tolist()),
            size=options.size,
            batch_size=options.batch_size,
            mean=MEAN,
            std=STD,
            folder=Path(place),
        )
        contenders = _ours(data, transform, Path(place), JPEG_CELLS, options.batch_size)
        absent = []
        for name in RIVALS:
            if name in options.without:
                continue
            batches = jpeg_rival(name, task)
            if batches is None:
                absent.append(name)
            else:
                contenders[name] = batches
        title = (
            f"{len(data)} JPEG files of {folder.name} to {options.size}x{options.size}, "
            f"batch {options.batch_size}"
        )
        rows = _time(contenders, options, progress)
        return LoaderFigures(title=title, rows=rows, absent=tuple(absent))


def environment(options: LoaderOptions) -> dict[str, str]:
    """Name what the figures depend on."""
    packages = dict.fromkeys(("torch", "torchvision", "numpy", "simplejpeg", *RIVALS.values()))
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
        "workers": "1",
        "rounds": str(options.rounds),
        "clock": options.clock,
    }


class _PerSample(Dataset[torch.Tensor]):
    """The usual way: every sample goes through torchvision's transforms by itself."""

    def __init__(self, images: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        self._images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        self._pipeline = v2.Compose(
            [
                v2.RandomCrop(MEMORY_SIDE, padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
                v2.RandomErasing(p=0.5),
            ]
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:  # type: ignore[override]
        image: torch.Tensor = self._pipeline(self._images[index])
        return image, 0


def _workers(data: Dataset[Any], batch_size: int) -> Batches:
    return DataLoader(
        data,
        batch_size,
        shuffle=True,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context="fork",
    )


def _ours(
    data: ImageData, transform: StandardTransform, folder: Path, cells: int, batch_size: int
) -> dict[str, Iterable[Any]]:
    cache = folder / "maps.zarr"
    publish_random_maps(data, cache, transform.size, cells)
    policy = ScaePolicy(
        num_epochs=1,
        class_counts=data.class_counts.tolist(),
        p_min=0.5,
        p_max=0.5,
        tau=0.0,
        curriculum=False,
    )
    choices: dict[str, tuple[Path | None, ScaePolicy | None]] = {
        SCAE: (cache, policy),
        PLAIN: (None, None),
    }
    return {
        name: build_loader(
            data,
            transform,
            cache=chosen[0],
            policy=chosen[1],
            batch_size=batch_size,
            num_workers=1,
            start_method="fork",
        )
        for name, chosen in choices.items()
    }


def _jpegs(data: ImageData, most: int) -> FolderData:
    if not isinstance(data, FolderData):
        raise BenchError(f"the JPEG part needs a folder of JPEG files, got {data.name}")
    names = [data.describe(row).lower() for row in range(len(data))]
    rows = [row for row, name in enumerate(names) if name.endswith((".jpg", ".jpeg"))]
    if not rows:
        raise DataError(f"{data.name} must hold .jpg or .jpeg files, got {len(names)} others")
    spread = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64))
    return data.subset(np.array(rows)[spread])


def _time(
    contenders: dict[str, Iterable[Any]], options: LoaderOptions, progress: Callable[[str], None]
) -> tuple[LoaderRow, ...]:
    counts: dict[str, int] = {}

    def epoch(name: str) -> Callable[[], None]:
        def run() -> None:
            progress(name)
            counts[name] = sum(len(next(iter(batch))) for batch in contenders[name])

        return run

    runs = {name: epoch(name) for name in contenders}
    seconds = interleaved(runs, options.rounds, clock=CLOCKS[options.clock])
    each: dict[str, Sequence[float]] = {
        name: [one / counts[name] for one in times] for name, times in seconds.items()
    }
    return tuple(
        LoaderRow(
            name=name,
            images_per_second=Spread.of([1 / one for one in times]),
            scae_over_it=ratios(times, each[SCAE]),
        )
        for name, times in each.items()
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
