"""Read a layer's output as a grid of features, whichever way its axes are laid out.

Shape suffixes: B images, C channels, h and w grid rows and columns, N tokens.
"""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

__all__ = ["MAX_PREFIX", "FeatureGrid", "describe_output"]

_MAX_STRETCH = 4.0
"""Aspect of a grid over that of its image beyond which an axis must be the channels."""

MAX_PREFIX = 16
"""Tokens before the patches (class, distillation, registers) beyond which a grid must be wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureGrid:
    """Where the channels and positions of a layer's output are."""

    layout: Literal["BChw", "BhwC", "BNC"]
    """Order of the axes; `BhwC` as in Swin networks, `BNC` as in vision transformers."""
    channels: int
    """C, at least 1."""
    height: int
    """h in cells."""
    width: int
    """w in cells."""
    prefix: int = 0
    """Tokens before those of the grid: 1 for a class token; 0 for all layouts but `BNC`."""

    @classmethod
    def of(
        cls, output: object, *, size: tuple[int, int], token_grid: tuple[int, int] | None = None
    ) -> "FeatureGrid | None":
        """Read `output` as a grid, or return None if it is not one of more than one cell.

        Args:
            output: What a layer returned.
            size: (H, W) of the images the network was given.
            token_grid: (h, w) of the patch tokens at the end of a (B, N, C) output; None takes a
                square, with or without one class token before it.
        """
        if not isinstance(output, Tensor) or not output.is_floating_point():
            return None
        grid = None
        if output.ndim == 4:
            grid = _grid_of_four(tuple(output.shape), size)
        elif output.ndim == 3:
            grid = _grid_of_tokens(tuple(output.shape), token_grid)
        if grid is None or grid.height * grid.width <= 1 or not grid.channels:
            return None
        return grid

    def channels_first(self, tensor: Tensor) -> Tensor:
        """Return a layer's output or its gradient as (B, C, h, w)."""
        if self.layout == "BChw":
            return tensor
        if self.layout == "BNC":
            tokens = tensor[:, self.prefix :]
            tensor = tokens.reshape(len(tensor), self.height, self.width, self.channels)
        return tensor.permute(0, 3, 1, 2)


def describe_output(output: object) -> str:
    """Return the shape of a layer's output for a message, or its type if it has none."""
    if isinstance(output, Tensor):
        return f"{tuple(output.shape)} {output.dtype}".replace("torch.", "")
    return type(output).__name__


def _grid_of_four(shape: tuple[int, ...], size: tuple[int, int]) -> FeatureGrid:
    _, first, second, third = shape
    if _stretch(second, third, size) > _MAX_STRETCH >= 1.01 > _stretch(first, second, size):
        return FeatureGrid(layout="BhwC", channels=third, height=first, width=second)
    return FeatureGrid(layout="BChw", channels=first, height=second, width=third)


def _grid_of_tokens(
    shape: tuple[int, ...], token_grid: tuple[int, int] | None
) -> FeatureGrid | None:
    _, tokens, channels = shape
    if token_grid:
        height, width = token_grid
        prefix = tokens - height * width
        if not 0 <= prefix <= MAX_PREFIX:
            return None
        return FeatureGrid(
            layout="BNC", channels=channels, height=height, width=width, prefix=prefix
        )
    for prefix in (0, 1):
        side = math.isqrt(max(tokens - prefix, 0))
        if side * side == tokens - prefix:
            return FeatureGrid(
                layout="BNC", channels=channels, height=side, width=side, prefix=prefix
            )
    return None


def _stretch(height: int, width: int, size: tuple[int, int]) -> float:
    """Return how far the aspect of a grid is from that of the image, as a factor >= 1."""
    if not height or not width:
        return math.inf
    ratio = (height * size[1]) / (width * size[0])
    return max(ratio, 1 / ratio)
