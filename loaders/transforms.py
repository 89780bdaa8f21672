"""From whole images to the network's input, and the views that saliency is read through.

Two kinds: the standard ones, drawn from keyed streams a batch at a time, and any pipeline of
`torchvision.transforms.v2` whose every step the view is known to follow.

Legend: B samples, S side of the output.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors

from loaders.batch_memory import new_images
from loaders.errors import DataError
from loaders.geometry import CropFlip, CropParams, ResizedCropFlip, Whole
from loaders.image_data import ArrayData, ImageData
from loaders.randomness import KeyedStream
from loaders.view import View
from loaders.view_batch import ViewBatch

DECODED_TOGETHER = 16
"""Whole images in memory at a time: a batch of large photographs would take gigabytes."""

CACHED_BYTES = 256 * 1024
"""Pixels cropped and normalised at a time, so that they are still in the cache when they become
floats, and whatever the batch, little memory is needed in between."""

SEED_RANGE = float(2**53)
"""A uniform number in [0, 1) times this is a seed for torch's generator."""


class Transform(Protocol):
    """Loads samples as the network wants them, and says where their pixels come from."""

    @property
    def size(self) -> int:
        """Side S of the output in pixels."""

    def load(
        self, data: ImageData, indices_B: NDArray[np.int64], stream: KeyedStream
    ) -> tuple[Tensor, ViewBatch]:
        """Return (B, 3, S, S) float32 normalised images and their views."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StandardTransform:
    """Crop, flip and normalise; everything random comes from the stream's rows.

    Raises:
        DataError: If an image can't be read, or is too small to crop.
    """

    geometry: CropFlip | ResizedCropFlip | Whole
    """How images are cut."""
    mean: tuple[float, ...]
    """Per channel, subtracted from pixels in [0, 1]."""
    std: tuple[float, ...]
    """Per channel, divides the result."""

    @property
    def size(self) -> int:
        """Side S of the output in pixels."""
        return self.geometry.size

    def load(
        self, data: ImageData, indices_B: NDArray[np.int64], stream: KeyedStream
    ) -> tuple[Tensor, ViewBatch]:
        """Return (B, 3, S, S) float32 normalised images and their views."""
        if isinstance(data, ArrayData) and isinstance(self.geometry, CropFlip):
            return self._from_arrays(data.images, self.geometry, indices_B, stream)
        output = new_images((len(indices_B), 3, self.size, self.size))
        parts: list[ViewBatch] = []
        first_size: Sequence[int] | None = None
        affine = self._affine()
        for start in range(0, len(indices_B), DECODED_TOGETHER):
            slots = np.arange(start, min(start + DECODED_TOGETHER, len(indices_B)))
            images = [data.read(int(index)) for index in indices_B[slots]]
            first_size = first_size or images[0].shape[:2]
            pixels, views = self._one_by_one(images, stream.take(slots), first_size)
            for slot, image in zip(slots.tolist(), pixels, strict=True):
                planes = np.ascontiguousarray(image.transpose(2, 0, 1))
                _write_affine(planes, affine, output[slot])
            parts.append(views)
        return output, _joined(parts, self.size)

    def _one_by_one(
        self, images: list[NDArray[np.uint8]], stream: KeyedStream, first_size: Sequence[int]
    ) -> tuple[list[NDArray[np.uint8]], ViewBatch]:
        geometry, num = self.geometry, len(images)
        if isinstance(geometry, Whole):
            return [geometry.apply_image(image) for image in images], geometry.views(num)
        sizes_B2 = np.array([image.shape[:2] for image in images], np.int64)
        params: CropParams
        if isinstance(geometry, ResizedCropFlip):
            params = geometry.draw(sizes_B2, stream)
            views = geometry.views(params, sizes_B2)
        else:
            height, width = _one_size(sizes_B2, first_size)
            params = geometry.draw(num, stream, (height, width))
            views = geometry.views(params, (height, width))
        pixels = [geometry.apply_image(image, params, row) for row, image in enumerate(images)]
        return pixels, views

    def _from_arrays(
        self,
        images_NHWC: NDArray[np.uint8],
        geometry: CropFlip,
        indices_B: NDArray[np.int64],
        stream: KeyedStream,
    ) -> tuple[Tensor, ViewBatch]:
        num, (height, width, channels) = len(indices_B), images_NHWC.shape[1:]
        params = geometry.draw(num, stream, (height, width))
        output, affine = new_images((num, channels, self.size, self.size)), self._affine()
        step = max(1, CACHED_BYTES // (channels * self.size**2))
        for start in range(0, num, step):
            part = slice(start, start + step)
            planes = geometry.apply_arrays(images_NHWC[indices_B[part]], params.part(part))
            _write_affine(planes, affine, output[part])
        return output, geometry.views(params, (height, width))

    def _affine(self) -> tuple[Tensor, Tensor]:
        """Return factor and summand of (pixel / 255 - mean) / std, both (C, 1, 1) float32."""
        std = torch.tensor(self.std, dtype=torch.float32)
        scale = (1 / (255 * std)).reshape(-1, 1, 1)
        return scale, (-torch.tensor(self.mean, dtype=torch.float32) / std).reshape(-1, 1, 1)


def _write_affine(
    planes_BCSS: NDArray[np.uint8], affine: tuple[Tensor, Tensor], output: Tensor
) -> None:
    """Write factor * pixel + summand into `output`, (B, C, S, S) float32.

    Bytes change places before they become floats, and then there is one multiplication and one
    addition a value, all in the processor's cache: four times as fast as value by value.
    """
    output.copy_(torch.from_numpy(planes_BCSS)).mul_(affine[0]).add_(affine[1])


class FollowedTransform:
    """A `torchvision.transforms.v2` pipeline, run with torch's generator seeded by each key.

    Made by `build_transform`, which refuses what the view does not follow.
    """

    def __init__(self, pipeline: torch.nn.Module, size: int) -> None:
        self._pipeline = pipeline
        self.size = size

    def load(
        self, data: ImageData, indices_B: NDArray[np.int64], stream: KeyedStream
    ) -> tuple[Tensor, ViewBatch]:
        """Return (B, 3, S, S) float32 images and their views.

        Raises:
            DataError: If the pipeline does not end in float images of S x S pixels.
        """
        seeds_B = (stream.random((len(indices_B), 1))[:, 0] * SEED_RANGE).astype(np.int64)
        images: list[Tensor] = []
        views: list[View] = []
        with torch.random.fork_rng(devices=[]):
            for index, seed in zip(indices_B.tolist(), seeds_B.tolist(), strict=True):
                pixels = torch.from_numpy(data.read(index)).permute(2, 0, 1)
                view = View.whole((pixels.shape[1], pixels.shape[2]))
                # torch.manual_seed would seed GPUs too, which fork_rng does not put back, and where
                # there is none it formats a stack trace: 0.15 ms.
                torch.default_generator.manual_seed(seed)
                image, moved = self._pipeline(tv_tensors.Image(pixels), view)
                images.append(self._checked(image))
                views.append(moved)
        return torch.stack(images), ViewBatch.stack(views)

    def _checked(self, image: Tensor) -> Tensor:
        plain = image.as_subclass(Tensor)
        if plain.shape[-2:] != (self.size, self.size) or not plain.is_floating_point():
            raise DataError(
                f"the transform must end in float images of {self.size}x{self.size} pixels, got "
                f"{tuple(plain.shape)} {plain.dtype}: end it with a crop or resize, "
                "v2.ToDtype(torch.float32, scale=True) and v2.Normalize"
            )
        return plain


def _one_size(sizes_B2: NDArray[np.int64], first_size: Sequence[int]) -> Sequence[int]:
    if (sizes_B2 != first_size).any():
        raise DataError(
            "crop with padding takes images of one size, got "
            f"{tuple(first_size)} and others: use the resized crop"
        )
    return first_size


def _joined(parts: list[ViewBatch], side: int) -> ViewBatch:
    return ViewBatch.joined(parts) if parts else ViewBatch.whole(0, (side, side))
