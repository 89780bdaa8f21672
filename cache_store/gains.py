"""The two numbers a row that turn an up-sampled map into A_hat of Eq. 4.

Upsampling is linear, so the paper's "upsample, then normalise to [0, 1]" equals
A_hat = clip((U - lo) / (hi - lo), 0, 1), where U is the bilinear look-up of the stored map and
lo, hi are its extremes over the pixels of the whole image. Needed per row: gain = 1 / (hi - lo) and
floor = lo; gain 0 marks a flat or missing map, whose A_hat is 0 everywhere. Both follow from the
map and the image's size alone, so they are never stored in a cache.

Legend: B rows, h, w native cells, C candidate pixels of an axis.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FLAT = 1e-6
"""A map whose upsampled values differ by less than this is flat: it prefers no place."""
PART_ROWS = 512
"""Rows worked on at once, so that what is in between stays in a core's own cache."""


def gains_and_floors(
    maps: NDArray[Any], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what normalises maps whose image has `size` pixels (text before Eq. 4).

    All steps are single multiplications and additions of float64, so a row's result depends neither
    on the rows beside it nor on a BLAS or its threads.

    Args:
        maps: (B, h, w) uint8, 255 = 1.0, or floating in [0, 1].
        size: (H, W) of the whole image at the network's input, at least (1, 1).

    Returns:
        gains (B,) float32, 1 / (hi - lo), or 0 for a flat map; floors (B,) float32, lo. lo and hi
        are the extremes over all H x W pixels, found from at most 2h x 2w of them.
    """
    rows, columns = (
        _taps(axis_weights((_candidates(pixels, cells) + 0.5) / pixels, cells))
        for pixels, cells in zip(size, maps.shape[1:], strict=True)
    )
    gains_B, floors_B = np.empty(len(maps), np.float32), np.empty(len(maps), np.float32)
    for start in range(0, len(maps), PART_ROWS):
        part = slice(start, start + PART_ROWS)
        low_P, high_P = _extremes(maps[part], rows, columns)
        spread_P = high_P - low_P
        gains_B[part] = np.divide(1.0, spread_P, out=np.zeros_like(low_P), where=spread_P >= FLAT)
        floors_B[part] = low_P
    return gains_B, floors_B


def axis_weights(positions: NDArray[np.float64], num_cells: int) -> NDArray[np.float64]:
    """Return the linear interpolation of one axis as matrices: (..., num_cells) float64.

    Args:
        positions: (...) places in [0, 1] over the whole axis; clamped to the outer cell centres.
        num_cells: Native cells of the axis.
    """
    cell = np.clip(positions * num_cells - 0.5, 0, num_cells - 1)
    # A tent around each cell centre: 1 at the centre, 0 from the next centre on.
    return np.maximum(0.0, 1.0 - np.abs(cell[..., None] - np.arange(num_cells)))


_Tap = tuple[int, int, float, float]
"""Two neighbouring cells and their weights."""


def _taps(weights_Ch: NDArray[np.float64]) -> list[_Tap]:
    """Return the two cells that each row of an interpolation matrix mixes."""
    taps = []
    for weights_h in weights_Ch.tolist():
        low = next(cell for cell, weight in enumerate(weights_h) if weight > 0)
        high = min(low + 1, len(weights_h) - 1)
        taps.append((low, high, weights_h[low], weights_h[high] if high > low else 0.0))
    return taps


def _candidates(num_pixels: int, num_cells: int) -> NDArray[np.int64]:
    """Return the pixels of one axis beside native cell centres: (C,) int64, C <= 2 * num_cells.

    Between two centres U is linear along the axis, so its extremes over pixels lie at the first or
    the last pixel there.
    """
    centres = (np.arange(num_cells) + 0.5) * num_pixels / num_cells - 0.5
    beside = np.concatenate((np.floor(centres), np.ceil(centres)))
    pixels: NDArray[np.int64] = np.unique(np.clip(beside, 0, num_pixels - 1).astype(np.int64))
    return pixels


def _extremes(
    maps_Bhw: NDArray[Any], rows: list[_Tap], columns: list[_Tap]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and the highest value at all candidate pixels, each (B,) float64."""
    # Rows last: every operation below then runs along memory.
    cells_hwB = np.ascontiguousarray(maps_Bhw.transpose(1, 2, 0)).astype(np.float64)
    if maps_Bhw.dtype == np.uint8:
        cells_hwB /= 255.0
    lines_CwB = np.stack([_mix(cells_hwB, tap) for tap in rows])
    low_B = np.full(len(maps_Bhw), np.inf)
    high_B = np.full(len(maps_Bhw), -np.inf)
    lines_wCB = lines_CwB.transpose(1, 0, 2)
    for tap in columns:
        values_CB = _mix(lines_wCB, tap)
        np.minimum(low_B, values_CB.min(axis=0), out=low_B)
        np.maximum(high_B, values_CB.max(axis=0), out=high_B)
    return low_B, high_B


def _mix(cells: NDArray[np.float64], tap: _Tap) -> NDArray[np.float64]:
    low, high, low_weight, high_weight = tap
    mixed: NDArray[np.float64] = cells[low] * low_weight
    mixed += cells[high] * high_weight
    return mixed
