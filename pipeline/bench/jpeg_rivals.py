"""Loaders that read the same JPEG bytes as ours, each by its own documented way.

All deliver batches (B, 3, S, S) float32: decoded, RandomResizedCrop, flipped, normalised. Rivals
that bring a format of their own get the untouched bytes packed into it, outside the clock.
"""

import importlib
import importlib.util
import io
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2

__all__ = ["RIVALS", "JpegTask", "jpeg_rival"]

RIVALS = {
    "torchvision v2": "torchvision",
    "albumentations": "albumentations",
    "webdataset": "webdataset",
    "litdata": "litdata",
    "mosaicml-streaming": "mosaicml-streaming",
}
"""Rival -> the distribution that has it."""

_MODULES = {"mosaicml-streaming": "streaming"}
"""Import names that differ from the distribution's."""

Batches = Iterable[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class JpegTask:
    """What all contenders load."""

    paths: tuple[Path, ...]
    """JPEG files, all different."""
    labels: tuple[int, ...]
    """Class of each."""
    size: int
    """Side S of the output."""
    batch_size: int
    """B."""
    mean: tuple[float, float, float]
    """Per channel, subtracted from pixels in [0, 1]."""
    std: tuple[float, float, float]
    """Per channel, divides the result."""
    folder: Path
    """Where rivals pack the bytes."""


def jpeg_rival(name: str, task: JpegTask) -> Batches | None:
    """Return a rival's batches, iterable again and again; None if it is not installed."""
    module = _MODULES.get(RIVALS[name], RIVALS[name])
    if importlib.util.find_spec(module) is None:
        return None
    makers: dict[str, Callable[[JpegTask], Batches]] = {
        "torchvision v2": _torchvision,
        "albumentations": _albumentations,
        "webdataset": _webdataset,
        "litdata": _litdata,
        "mosaicml-streaming": _streaming,
    }
    return makers[name](task)


def _tensor_pipeline(task: JpegTask) -> Callable[[bytes], torch.Tensor]:
    """Return torchvision's own way from bytes to a normalised tensor."""
    pipeline = v2.Compose(
        [
            v2.RandomResizedCrop(task.size, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(task.mean, task.std),
        ]
    )

    def load(content: bytes) -> torch.Tensor:
        # A writable copy, since torch warns of tensors over immutable bytes.
        encoded = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
        image: torch.Tensor = pipeline(decode_jpeg(encoded, ImageReadMode.RGB))
        return image

    return load


class _Files(Dataset[tuple[torch.Tensor, int]]):
    """A map-style data set of files."""

    def __init__(self, task: JpegTask, load: Callable[[bytes], torch.Tensor]) -> None:
        self._task, self._load = task, load

    def __len__(self) -> int:
        return len(self._task.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self._load(self._task.paths[index].read_bytes()), self._task.labels[index]


def _map_style(task: JpegTask, load: Callable[[bytes], torch.Tensor]) -> Batches:
    return DataLoader(
        _Files(task, load),
        task.batch_size,
        shuffle=True,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context="fork",
    )


def _torchvision(task: JpegTask) -> Batches:
    return _map_style(task, _tensor_pipeline(task))


def _albumentations(task: JpegTask) -> Batches:
    library, cv2 = importlib.import_module("albumentations"), importlib.import_module("cv2")
    to_tensor = importlib.import_module("albumentations.pytorch").ToTensorV2
    cv2.setNumThreads(0)  # one worker is one thread, as for all
    pipeline = library.Compose(
        [
            library.RandomResizedCrop((task.size, task.size)),
            library.HorizontalFlip(),
            library.Normalize(task.mean, task.std),
            to_tensor(),
        ]
    )

    def load(content: bytes) -> torch.Tensor:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
        tensor: torch.Tensor = pipeline(image=image)["image"]
        return tensor

    return _map_style(task, load)


def _webdataset(task: JpegTask) -> Batches:
    library = importlib.import_module("webdataset")
    shard = task.folder / "jpegs.tar"
    with tarfile.open(shard, "w") as tar:
        for number, (path, label) in enumerate(zip(task.paths, task.labels, strict=True)):
            parts = (("jpg", path.read_bytes()), ("cls", str(label).encode()))
            for suffix, content in parts:
                member = tarfile.TarInfo(f"{number:06d}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    load = _tensor_pipeline(task)
    data = (
        library.WebDataset(str(shard), shardshuffle=False)
        .shuffle(len(task.paths))
        .to_tuple("jpg", "cls")
        .map_tuple(load, int)
        .batched(task.batch_size)
    )
    return library.WebLoader(
        data,
        batch_size=None,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context="fork",
    )


def _litdata(task: JpegTask) -> Batches:
    library = importlib.import_module("litdata")
    folder = task.folder / "litdata"
    cache = library.streaming.Cache(str(folder), chunk_bytes="64MB")
    for number, (path, label) in enumerate(zip(task.paths, task.labels, strict=True)):
        cache[number] = {"image": path.read_bytes(), "label": label}
    cache.done()
    cache.merge()
    load = _tensor_pipeline(task)

    class Jpegs(library.StreamingDataset):  # type: ignore[name-defined]  # untyped library
        def __getitem__(self, index: Any) -> tuple[torch.Tensor, int]:  # noqa: ANN401
            item = super().__getitem__(index)
            return load(item["image"]), item["label"]

    return library.StreamingDataLoader(
        Jpegs(str(folder), shuffle=True),
        batch_size=task.batch_size,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context="fork",
    )


def _streaming(task: JpegTask) -> Batches:
    library = importlib.import_module("streaming")
    folder = task.folder / "mds"
    with library.MDSWriter(out=str(folder), columns={"image": "bytes", "label": "int"}) as writer:
        for path, label in zip(task.paths, task.labels, strict=True):
            writer.write({"image": path.read_bytes(), "label": label})
    load = _tensor_pipeline(task)

    class Jpegs(library.StreamingDataset):  # type: ignore[name-defined]  # untyped library
        def __getitem__(self, index: Any) -> tuple[torch.Tensor, int]:  # noqa: ANN401
            item = super().__getitem__(index)
            return load(item["image"]), item["label"]

    data = Jpegs(local=str(folder), shuffle=True, batch_size=task.batch_size)
    return DataLoader(
        data,
        task.batch_size,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
