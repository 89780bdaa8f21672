"""Normalising squashed images, with the same bits on the reading threads and on a device.

Shape suffixes: B images, S side in pixels.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Normalise:
    """Subtracts a network's mean and divides by its standard deviation, a line at a time.

    Args:
        mean: Of each channel, as shares of 255.
        std: Of each channel, as shares of 255.
        size: S, side of the images in pixels.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], size: int) -> None:
        # Repeated over a line of pixels: three values at a time would take three times as long.
        self._mean = torch.tensor(mean).repeat(size) * 255
        self._std = torch.tensor(std).repeat(size) * 255

    def here(self, images_BSS3: NDArray[np.uint8], out_BSS3: NDArray[np.float32]) -> None:
        """Fill `out_BSS3` with the normalised images, in this thread alone."""
        lines_BSL = images_BSS3.reshape(*images_BSS3.shape[:2], -1)
        out_BSL = out_BSS3.reshape(lines_BSL.shape)
        np.subtract(lines_BSL, self._mean.numpy(), out=out_BSL, dtype=np.float32)
        np.divide(out_BSL, self._std.numpy(), out=out_BSL)

    def on_device(self, images_BSS3: Tensor) -> Tensor:
        """Return the normalised images, float32, on the device of `images_BSS3`."""
        mean, std = self._mean.to(images_BSS3.device), self._std.to(images_BSS3.device)
        return torch.sub(images_BSS3.flatten(2), mean).div_(std).view(images_BSS3.shape)
