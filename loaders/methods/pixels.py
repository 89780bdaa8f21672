"""From normalised images back to bytes, and forth.

Legend: B samples, C channels, H, W sides of an image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["normalised", "to_bytes"]


def to_bytes(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return the pixels of normalised images, exactly those they were made from.

    Args:
        images: (B, C, H, W) float32, (pixel / 255 - mean) / std.
        mean: One a channel.
        std: One a channel.

    Returns:
        (B, C, H, W) uint8.
    """
    mean_C11, std_C11 = (torch.tensor(values)[:, None, None] for values in (mean, std))
    return ((images * std_C11 + mean_C11) * 255).round_().clamp_(0, 255).byte()


def normalised(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return (pixel / 255 - mean) / std of (B, C, H, W) uint8 pixels, float32."""
    mean_C11, std_C11 = (torch.tensor(values)[:, None, None] for values in (mean, std))
    return (pixels.float() - 255 * mean_C11) / (255 * std_C11)
