"""The two numbers a row that turn an up-sampled map into A_hat of Eq. 4.

Upsampling is linear, so the paper's "upsample, then normalise to [0, 1]" equals
A_hat = clip((U - lo) / (hi - lo), 0, 1), where U is the bilinear look-up of the stored map and
lo, hi are its extremes over the pixels of the whole image. Kept per row: gain = 1 / (hi - lo) and
floor = lo; gain 0 marks a flat or missing map, whose A_hat is 0 everywhere.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.errors import DataError

# B rows, h w native cells, H W image pixels, C candidate pixels of an axis.

FLAT = 1e-6
"""A map whose upsampled values differ by less than this is flat: it prefers no place."""


def unit_maps(maps: NDArray[Any]) -> NDArray[np.float64]:
    """Return maps of [0, 1] values, 255 = 1.0 for uint8 ones: (B, h, w) float64, a new array.

    Raises:
        DataError: If `maps` is not (B, h, w) uint8, or floating with values in [0, 1].
    """
    if maps.ndim != 3 or min(maps.shape[1:]) < 1:
        raise DataError(f"maps must be (B, h, w) with h, w >= 1, got {maps.shape}")
    if maps.dtype == np.uint8:
        return maps / np.float64(255)
    if maps.dtype.kind != "f":
        raise DataError(f"maps must be uint8 or floating, got {maps.dtype}")
    if maps.size and not (maps.min() >= 0 and maps.max() <= 1):
        raise DataError(
            f"floating maps must hold values in [0, 1], got {maps.min()} to {maps.max()}; "
            "divide each map by its maximum"
        )
    return maps.astype(np.float64)


def check_size(size: tuple[int, int]) -> None:
    """Raise DataError if `size` is not (H, W) of at least one pixel each."""
    if np.shape(size) != (2,) or min(size) < 1:
        raise DataError(f"size must be (H, W) of at least (1, 1), got {size}")


def axis_weights(positions: NDArray[np.float64], num_cells: int) -> NDArray[np.float64]:
    """Return the linear interpolation of one axis as a matrix: (len(positions), num_cells) float64.

    Args:
        positions: Places in [0, 1] over the whole axis; clamped to the outer cell centres.
        num_cells: Native cells of the axis.
    """
    cell = np.clip(positions * num_cells - 0.5, 0, num_cells - 1)
    # A tent around each cell centre: 1 at the centre, 0 from the next centre on.
    return np.maximum(0.0, 1.0 - np.abs(cell[:, None] - np.arange(num_cells)))


def _candidates(num_pixels: int, num_cells: int) -> NDArray[np.int64]:
    """Return the pixels of one axis beside native cell centres: (C,) int64, C <= 2 * num_cells.

    Between two centres U is linear along the axis, so its extremes over pixels lie at the first or
    the last pixel there.
    """
    centres = (np.arange(num_cells) + 0.5) * num_pixels / num_cells - 0.5
    beside = np.concatenate((np.floor(centres), np.ceil(centres)))
    pixels: NDArray[np.int64] = np.unique(np.clip(beside, 0, num_pixels - 1).astype(np.int64))
    return pixels


def exact_gains(
    maps: NDArray[Any], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what normalises maps whose image has `size` pixels (text before Eq. 4).

    Args:
        maps: (B, h, w) uint8, or floating in [0, 1].
        size: (H, W) of the whole image at the network's input.

    Returns:
        gains (B,) float32, 1 / (hi - lo), or 0 for a flat map; floors (B,) float32, lo. lo and hi
        are the extremes over all H x W pixels, found from at most 2h x 2w of them.

    Raises:
        DataError: If maps or size are not as described.
    """
    native_Bhw = unit_maps(maps)
    check_size(size)
    rows_Ch, columns_Cw = (
        axis_weights((_candidates(pixels, cells) + 0.5) / pixels, cells)
        for pixels, cells in zip(size, native_Bhw.shape[1:], strict=True)
    )
    values_BCC = rows_Ch @ native_Bhw @ columns_Cw.T
    low_B = values_BCC.min(axis=(1, 2))
    spread_B = values_BCC.max(axis=(1, 2)) - low_B
    gains_B = np.divide(1.0, spread_B, out=np.zeros_like(spread_B), where=spread_B >= FLAT)
    return gains_B.astype(np.float32), low_B.astype(np.float32)
