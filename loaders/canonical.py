"""Back from views to whole images: what was measured on a view, shared out to the image's cells.

A cell of the image takes the mean of the view's cells by the area that they share, so an untouched
view gives back its own map, and one that shows the image larger is averaged.

Legend: B views, y, x cells of a view's map, h, w cells of the whole image, P half planes, Q points.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loaders.errors import DataError
from loaders.view_batch import ViewBatch

POINTS = 4
"""Points a side that stand for the area of an image's cell where a view turns or slants it."""

Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class CanonicalCells:
    """Maps of views in the cells of their whole images."""

    values: NDArray[np.float64]
    """(B, h, w) float64: mean over what the view shows of each cell; 0 where it shows nothing."""
    coverage: NDArray[np.float64]
    """(B, h, w) float64 in [0, 1]: share of each cell that the view shows, by its weights."""


def to_canonical(
    maps: Floats, weights: Floats | None, views: ViewBatch, shape: tuple[int, int]
) -> CanonicalCells:
    """Resample maps of views into the cells of the whole images.

    Each row depends on its own view alone, not on its companions.

    Args:
        maps: (B, y, x) values of any range, over each view's canvas from edge to edge.
        weights: (B, y, x) in [0, 1], how far each cell of a view's map is to be believed; None
            believes all of them.
        views: Views of the B rows.
        shape: (h, w) of the whole image's cells.

    Raises:
        DataError: If the arrays do not fit together.
        GeometryError: If a view can't be inverted.
    """
    if weights is None:
        weights = np.ones(maps.shape)
    elif weights.shape != maps.shape:
        raise DataError(f"weights must be as the maps, {maps.shape}, got {weights.shape}")
    if len(views) != len(maps):
        raise DataError(f"views must be one a map, {len(maps)}, got {len(views)}")
    back = views.inverted(shape)
    both_2Byx = np.stack([maps * weights, weights]).astype(np.float64)
    found_2Bhw = np.empty((2, len(maps), *shape))
    straight_B = _straight(back)
    for rows, means in (
        (np.flatnonzero(straight_B), _straight_means),
        (np.flatnonzero(~straight_B), _slanted_means),
    ):
        if len(rows):
            found_2Bhw[:, rows] = means(both_2Byx[:, rows], back.take(rows))
    sums_Bhw, coverage_Bhw = found_2Bhw
    np.divide(sums_Bhw, coverage_Bhw, out=sums_Bhw, where=coverage_Bhw > 0)
    return CanonicalCells(values=sums_Bhw, coverage=coverage_Bhw)


def _straight(back: ViewBatch) -> NDArray[np.bool_]:
    """Tell which views and clips turn nothing, so that rows and columns part: (B,) bool."""
    one_axis_B = (back.half_planes[..., :2] == 0).any(axis=2).all(axis=1)
    straight_B: NDArray[np.bool_] = back.aligned & one_axis_B
    return straight_B


def _straight_means(maps_2Byx: NDArray[np.float64], back: ViewBatch) -> NDArray[np.float64]:
    """Return the sums over shared areas, by two small matrix products a map: (2, B, h, w)."""
    height, width = maps_2Byx.shape[2:]
    rows_Bhy, columns_Bwx = _shared_lengths(back, 1, height), _shared_lengths(back, 0, width)
    means_2Bhw: NDArray[np.float64] = rows_Bhy @ maps_2Byx @ columns_Bwx.transpose(0, 2, 1)
    return means_2Bhw


def _shared_lengths(back: ViewBatch, axis: int, num: int) -> NDArray[np.float64]:
    """Return what share of each cell of the image lies in each of `num` cells of the view.

    Args:
        back: Straight views, a pixel for each cell of the image.
        axis: 0 for columns, 1 for rows.
        num: Cells of the view's map.

    Returns:
        (B, cells, num) float64; a row sums to the share of the cell that the view shows.
    """
    scale_B1, shift_B1 = back.matrices[:, axis, axis, None], back.matrices[:, axis, 2, None]
    slope_BP, offset_BP = back.half_planes[..., axis], back.half_planes[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        edge_BP = -offset_BP / slope_BP
    first_B1 = np.where(slope_BP > 0, edge_BP, -np.inf).max(axis=1, keepdims=True)
    last_B1 = np.where(slope_BP < 0, edge_BP, np.inf).min(axis=1, keepdims=True)
    edges_C = np.arange(back.size[1 - axis] + 1)
    shown_BC = np.clip(edges_C, first_B1, np.maximum(first_B1, last_B1))
    on_view_BC = (scale_B1 * shown_BC + shift_B1) * num
    low_Bc1 = np.minimum(on_view_BC[:, :-1], on_view_BC[:, 1:])[..., None]
    high_Bc1 = np.maximum(on_view_BC[:, :-1], on_view_BC[:, 1:])[..., None]
    cells_x = np.arange(num)
    shared_Bcx = np.minimum(high_Bc1, cells_x + 1) - np.maximum(low_Bc1, cells_x)
    shares_Bcx: NDArray[np.float64] = np.maximum(shared_Bcx, 0) / np.abs(scale_B1 * num)[..., None]
    return shares_Bcx


def _slanted_means(maps_2Byx: NDArray[np.float64], back: ViewBatch) -> NDArray[np.float64]:
    """Return the sums over points of each cell, for any views: (2, B, h, w)."""
    (height, width), (num_y, num_x) = back.size, maps_2Byx.shape[2:]
    x_Q = (np.arange(width * POINTS) + 0.5) / POINTS
    y_Q1 = ((np.arange(height * POINTS) + 0.5) / POINTS)[:, None]
    u_BQQ, v_BQQ, scale_BQQ = _rows_times(back.matrices, x_Q, y_Q1)
    shown_BQQ = (_rows_times(back.half_planes, x_Q, y_Q1) > 0).all(axis=0)
    scale_BQQ = np.where(shown_BQQ, scale_BQQ, 1.0)
    column_BQQ, row_BQQ = (
        np.clip(np.where(shown_BQQ, place / scale_BQQ, 0) * num, 0, num - 1).astype(np.int64)
        for place, num in ((u_BQQ, num_x), (v_BQQ, num_y))
    )
    views_B11 = np.arange(len(back))[:, None, None]
    points_2BQQ = maps_2Byx[:, views_B11, row_BQQ, column_BQQ] * shown_BQQ
    means_2Bhw: NDArray[np.float64] = points_2BQQ.reshape(
        2, -1, height, POINTS, width, POINTS
    ).mean(axis=(3, 5))
    return means_2Bhw


def _rows_times(
    rows_BP3: NDArray[np.float64], x_Q: NDArray[np.float64], y_Q1: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a*x + b*y + c of each row at a grid of places: (P, B, Q, Q) float64."""
    a, b, c = rows_BP3.transpose(2, 1, 0)[..., None, None]
    values_PBQQ: NDArray[np.float64] = a * x_Q + (b * y_Q1 + c)
    return values_PBQQ
