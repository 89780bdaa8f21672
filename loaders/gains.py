"""Gains and floors of maps that come from anywhere: checked first, then as a cache's are made."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_store.gains import gains_and_floors
from loaders.errors import DataError

# B rows, h w native cells, H W image pixels.


def unit_maps(maps: NDArray[Any]) -> NDArray[np.float64]:
    """Return maps of [0, 1] values, 255 = 1.0 for uint8 ones: (B, h, w) float64, a new array.

    Raises:
        DataError: If `maps` is not (B, h, w) uint8, or floating with values in [0, 1].
    """
    check_maps(maps)
    return maps / np.float64(255) if maps.dtype == np.uint8 else maps.astype(np.float64)


def check_maps(maps: NDArray[Any]) -> None:
    """Raise DataError if `maps` is not (B, h, w) uint8, or floating with values in [0, 1]."""
    if maps.ndim != 3 or min(maps.shape[1:]) < 1:
        raise DataError(f"maps must be (B, h, w) with h, w >= 1, got {maps.shape}")
    if maps.dtype == np.uint8:
        return
    if maps.dtype.kind != "f":
        raise DataError(f"maps must be uint8 or floating, got {maps.dtype}")
    if maps.size and not (maps.min() >= 0 and maps.max() <= 1):
        raise DataError(
            f"floating maps must hold values in [0, 1], got {maps.min()} to {maps.max()}; "
            "divide each map by its maximum"
        )


def check_size(size: tuple[int, int]) -> None:
    """Raise DataError if `size` is not (H, W) of at least one pixel each."""
    if np.shape(size) != (2,) or min(size) < 1:
        raise DataError(f"size must be (H, W) of at least (1, 1), got {size}")


def exact_gains(
    maps: NDArray[Any], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what normalises maps whose image has `size` pixels; see `gains_and_floors`.

    Args:
        maps: (B, h, w) uint8, or floating in [0, 1].
        size: (H, W) of the whole image at the network's input.

    Returns:
        gains (B,) float32, 1 / (hi - lo), or 0 for a flat map; floors (B,) float32, lo.

    Raises:
        DataError: If maps or size are not as described.
    """
    check_maps(maps)
    check_size(size)
    return gains_and_floors(maps, size)
