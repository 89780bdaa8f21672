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

from loaders.errors import DataError
from loaders.geometry import CropFlip, CropParams, ResizedCropFlip, Whole
from loaders.image_data import ArrayData, ImageData
from loaders.randomness import KeyedStream
from loaders.view import View
from loaders.view_batch import ViewBatch

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
            images_BHWC = data.images[indices_B]
            shape = (images_BHWC.shape[1], images_BHWC.shape[2])
            params = self.geometry.draw(len(indices_B), stream, shape)
            pixels_BSSC = self.geometry.apply_arrays(images_BHWC, params)
            return self._normalised(pixels_BSSC), self.geometry.views(params, shape)
        images = [data.read(int(index)) for index in indices_B]
        pixels, views = self._one_by_one(images, stream)
        return self._normalised(np.stack(pixels)), views

    def _one_by_one(
        self, images: list[NDArray[np.uint8]], stream: KeyedStream
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
            height, width = _one_size(sizes_B2)
            params = geometry.draw(num, stream, (height, width))
            views = geometry.views(params, (height, width))
        pixels = [geometry.apply_image(image, params, row) for row, image in enumerate(images)]
        return pixels, views

    def _normalised(self, pixels_BSSC: NDArray[np.uint8]) -> Tensor:
        # One multiplication and one addition a value, written straight into channels-first order.
        scale = 1 / (255 * np.asarray(self.std, np.float32))
        shift = -np.asarray(self.mean, np.float32) / np.asarray(self.std, np.float32)
        num, height, width, channels = pixels_BSSC.shape
        output = np.empty((num, channels, height, width), np.float32)
        for channel in range(channels):
            np.multiply(pixels_BSSC[..., channel], scale[channel], out=output[:, channel])
            output[:, channel] += shift[channel]
        return torch.from_numpy(output)


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
                torch.manual_seed(seed)
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


def _one_size(sizes_B2: NDArray[np.int64]) -> Sequence[int]:
    if (sizes_B2 != sizes_B2[0]).any():
        raise DataError(
            "crop with padding takes images of one size, got "
            f"{tuple(sizes_B2[0].tolist())} and others: use the resized crop"
        )
    first: list[int] = sizes_B2[0].tolist()
    return first
