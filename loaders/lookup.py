"""Looks saliency up at output pixels: A_hat of Eq. 4, without ever upsampling a map."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_store.gains import axis_weights
from loaders.errors import DataError
from loaders.gains import unit_maps
from loaders.view_batch import NO_CLIP, ViewBatch

# B rows, h w native cells, H W output pixels, K places of a row.


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class SaliencyField:
    """A_hat of a batch as a function of the place in each output image.

    Interpolation weights sum to 1, so normalising the native cells and then interpolating equals
    the paper's order; only the clip to [0, 1] comes last.
    """

    cells: NDArray[np.float64]
    """(B, h, w) float64: (map - floor) * gain at the native cells, not clipped."""

    views: ViewBatch
    """Where each output pixel lies on its map."""

    affine: bool
    """True if no view needs the projective division."""

    @classmethod
    def build(
        cls,
        maps: NDArray[Any],
        gains: NDArray[np.floating[Any]],
        floors: NDArray[np.floating[Any]],
        views: ViewBatch,
    ) -> "SaliencyField":
        """Return the field of maps (B, h, w), gains (B,), floors (B,) and B views.

        Raises:
            DataError: If the arrays do not fit together.
        """
        cells_Bhw = unit_maps(maps)
        num_rows = len(cells_Bhw)
        for name, values in (("gains", gains), ("floors", floors)):
            if np.shape(values) != (num_rows,):
                raise DataError(f"{name} must be ({num_rows},), got {np.shape(values)}")
        if len(views) != num_rows:
            raise DataError(f"views must be one a map, {num_rows}, got {len(views)}")
        cells_Bhw -= floors[:, None, None]
        cells_Bhw *= gains[:, None, None]
        return cls(cells=cells_Bhw, views=views, affine=views.affine)

    def take(self, rows: NDArray[np.int64]) -> "SaliencyField":
        """Return the field of these rows."""
        return SaliencyField(
            cells=self.cells[rows], views=self.views.take(rows), affine=self.affine
        )

    def at(self, x_BK: NDArray[np.float64], y_BK: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return A_hat at places in output-pixel coordinates (centres at +0.5): (B, K) float64."""
        column_BK, row_BK = self._on_map(x_BK, y_BK)
        saliency_BK = self._interpolated(column_BK, row_BK)
        for number in range(self.views.half_planes.shape[1]):
            a_B1, b_B1, c_B1 = self.views.half_planes[:, number].T[..., None]
            saliency_BK *= a_B1 * x_BK + b_B1 * y_BK + c_B1 > 0
        return saliency_BK

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return limits of A_hat over each view: lowest (B,), highest (B,) float64 in [0, 1].

        Each row's limits depend on that row alone, else its draws would change with its companions.
        """
        num_y, num_x = self.cells.shape[1:]
        # The canvas is a convex quadrilateral on the map: its corner pixels span what it reads.
        height, width = self.views.size
        x_14 = np.array([(0.5, width - 0.5, 0.5, width - 0.5)])
        y_14 = np.array([(0.5, 0.5, height - 0.5, height - 0.5)])
        column_B4, row_B4 = self._on_map(x_14, y_14)
        seen_Bhw = _touched(row_B4, num_y)[:, :, None] & _touched(column_B4, num_x)[:, None, :]
        if not self.affine:
            # Unless the horizon crosses the canvas: then it may read any cell.
            m_B13 = self.views.matrices[:, 2, None, :]
            scale_B4 = m_B13[..., 0] * x_14 + m_B13[..., 1] * y_14 + m_B13[..., 2]
            seen_Bhw |= (scale_B4 <= 0).any(axis=1)[:, None, None]
        flat = (len(seen_Bhw), num_y * num_x)  # one axis is reduced in a third of the time of two
        low_B = np.where(seen_Bhw, self.cells, 1.0).reshape(flat).min(axis=1)
        high_B = np.where(seen_Bhw, self.cells, 0.0).reshape(flat).max(axis=1)
        # A clip may hide any part of the canvas, and there A_hat is 0.
        low_B[(self.views.half_planes != NO_CLIP).any(axis=2).any(axis=1)] = 0.0
        return low_B.clip(0.0, 1.0), high_B.clip(0.0, 1.0)

    def dense(self) -> NDArray[np.float64]:
        """Return A_hat at every output pixel: (B, H, W) float64."""
        aligned_B = self.views.aligned
        saliency_BHW = np.empty((len(aligned_B), *self.views.size))
        # The two ways differ in the last digits, so the row alone must decide which it goes.
        for rows, render in (
            (np.flatnonzero(aligned_B), SaliencyField._aligned),
            (np.flatnonzero(~aligned_B), SaliencyField._slanted),
        ):
            if len(rows):
                saliency_BHW[rows] = render(self.take(rows))
        x_W, y_H = np.arange(self.views.size[1]) + 0.5, np.arange(self.views.size[0]) + 0.5
        for number in range(self.views.half_planes.shape[1]):
            a_B1, b_B1, c_B1 = self.views.half_planes[:, number].T[..., None]
            saliency_BHW *= (a_B1 * x_W)[:, None] + (b_B1 * y_H + c_B1)[..., None] > 0
        return saliency_BHW

    def _aligned(self) -> NDArray[np.float64]:
        """Render views whose rows and columns are the map's: two small matrix products each."""
        m_33B1 = self.views.matrices.transpose(1, 2, 0)[..., None]
        (height, width), (num_y, num_x) = self.views.size, self.cells.shape[1:]
        rows_BHh = axis_weights(m_33B1[1, 1] * (np.arange(height) + 0.5) + m_33B1[1, 2], num_y)
        columns_BWw = axis_weights(m_33B1[0, 0] * (np.arange(width) + 0.5) + m_33B1[0, 2], num_x)
        saliency_BHW: NDArray[np.float64] = rows_BHh @ self.cells @ columns_BWw.transpose(0, 2, 1)
        return np.clip(saliency_BHW, 0.0, 1.0, out=saliency_BHW)

    def _slanted(self) -> NDArray[np.float64]:
        """Render any views."""
        (height, width), num_rows = self.views.size, len(self.cells)
        x_W = np.arange(width, dtype=np.float64) + 0.5
        y_H1 = np.arange(height, dtype=np.float64)[:, None] + 0.5
        places = [place_BHW.reshape(num_rows, -1) for place_BHW in self._on_map(x_W, y_H1)]
        return self._interpolated(*places).reshape(num_rows, height, width)

    def _interpolated(
        self, column_BK: NDArray[np.float64], row_BK: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return A_hat at places in native cells, which are spent: (B, K) float64."""
        num_rows, num_y, num_x = self.cells.shape
        left_BK, right = _split(column_BK, num_x)
        index_BK, below = _split(row_BK, num_y)
        index_BK *= num_x
        index_BK += left_BK
        index_BK += (np.arange(num_rows) * (num_y * num_x))[:, None]
        flat, below = self.cells.reshape(-1), below * num_x
        upper_BK, lower_BK = flat.take(index_BK), flat.take(index_BK + below)
        upper_BK += column_BK * (flat.take(index_BK + right) - upper_BK)
        lower_BK += column_BK * (flat.take(index_BK + (right + below)) - lower_BK)
        upper_BK += row_BK * (lower_BK - upper_BK)
        return np.clip(upper_BK, 0.0, 1.0, out=upper_BK)

    def _on_map(
        self, x_K: NDArray[np.float64], y_K: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (column, row) in native cells, clamped to the outer cell centres.

        x and y broadcast to (B, K), or both to (B, H, W) as (W,) and (H, 1).
        """
        m_33B1 = self.views.matrices.transpose(1, 2, 0)[..., None]
        if y_K.ndim > x_K.ndim:
            m_33B1 = m_33B1[..., None]
        _, num_y, num_x = self.cells.shape
        places = [row[0] * x_K + (row[1] * y_K + row[2]) for row in m_33B1[:2]]
        if not self.affine:
            scale = m_33B1[2, 0] * x_K + (m_33B1[2, 1] * y_K + m_33B1[2, 2])
            # What lies behind the horizon is cut by a half plane: only keep it finite.
            scale = np.where(scale > 0, scale, 1.0)
            for place in places:
                place /= scale
        for place, cells in zip(places, (num_x, num_y), strict=True):
            place *= cells
            place -= 0.5
            np.clip(place, 0, cells - 1, out=place)
        return places[0], places[1]


def _split(cell_BK: NDArray[np.float64], num_cells: int) -> tuple[NDArray[np.int64], int]:
    """Return the cell before each place and the step to the next; leave the fraction in place."""
    before_BK = cell_BK.astype(np.int64)
    np.minimum(before_BK, max(num_cells - 2, 0), out=before_BK)
    cell_BK -= before_BK
    # A single cell has no neighbour; the fraction is 0 there, so any index will do.
    return before_BK, int(num_cells > 1)


def _touched(cell_B4: NDArray[np.float64], num_cells: int) -> NDArray[np.bool_]:
    """Return which cells of an axis the interpolation between four corners reads: (B, cells)."""
    number = np.arange(num_cells)
    first_B1 = np.floor(cell_B4.min(axis=1, keepdims=True))
    last_B1 = np.ceil(cell_B4.max(axis=1, keepdims=True))
    return (number >= first_B1) & (number <= last_B1)


def look_up(
    maps: NDArray[Any],
    gains: NDArray[np.floating[Any]],
    floors: NDArray[np.floating[Any]],
    views: ViewBatch,
    ys: NDArray[np.int64],
    xs: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the normalised saliency A_hat of Eq. 4 at output pixels.

    Args:
        maps: (B, h, w) uint8, or floating in [0, 1].
        gains: (B,) as `exact_gains` returns; 0 gives A_hat = 0.
        floors: (B,) as `exact_gains` returns.
        views: Views of the B rows.
        ys: (B, K) integer pixel rows.
        xs: (B, K) integer pixel columns.

    Returns:
        (B, K) float64 in [0, 1]; 0 outside a view's clips.

    Raises:
        DataError: If the arrays do not fit together.
    """
    return SaliencyField.build(maps, gains, floors, views).at(
        xs.astype(np.float64) + 0.5, ys.astype(np.float64) + 0.5
    )
