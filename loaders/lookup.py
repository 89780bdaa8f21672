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

AFFINE_ROW = (0.0, 0.0, 1.0)
"""Last row of a matrix that needs no projective division."""


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
        affine = bool((views.matrices[:, 2] == AFFINE_ROW).all())
        return cls(cells=cells_Bhw, views=views, affine=affine)

    def take(self, rows: NDArray[np.int64]) -> "SaliencyField":
        """Return the field of these rows."""
        return SaliencyField(
            cells=self.cells[rows], views=self.views.take(rows), affine=self.affine
        )

    def at(self, x_BK: NDArray[np.float64], y_BK: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return A_hat at places in output-pixel coordinates (centres at +0.5): (B, K) float64."""
        num_rows, num_y, num_x = self.cells.shape
        column_BK, row_BK = self._on_map(x_BK, y_BK)
        left_BK, right = _split(column_BK, num_x)
        top_BK, below = _split(row_BK, num_y)
        index_BK = top_BK * num_x + left_BK
        index_BK += (np.arange(num_rows) * (num_y * num_x))[:, None]
        flat, below = self.cells.reshape(-1), below * num_x
        upper_BK, lower_BK = flat.take(index_BK), flat.take(index_BK + below)
        upper_BK += column_BK * (flat.take(index_BK + right) - upper_BK)
        lower_BK += column_BK * (flat.take(index_BK + (right + below)) - lower_BK)
        upper_BK += row_BK * (lower_BK - upper_BK)
        np.clip(upper_BK, 0.0, 1.0, out=upper_BK)
        for number in range(self.views.half_planes.shape[1]):
            a_B, b_B, c_B = self.views.half_planes[:, number].T
            upper_BK *= a_B[:, None] * x_BK + b_B[:, None] * y_BK + c_B[:, None] > 0
        return upper_BK

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return limits of A_hat over each view: lowest (B,), highest (B,) float64 in [0, 1].

        Each row's limits depend on that row alone, else its draws would change with its companions.
        """
        cells_Bhw = np.clip(self.cells, 0.0, 1.0)
        num_rows, num_y, num_x = cells_Bhw.shape
        # The canvas is a parallelogram on the map; its corner pixels span the cells it touches.
        height, width = self.views.size
        x_B4 = np.tile((0.5, width - 0.5, 0.5, width - 0.5), (num_rows, 1))
        y_B4 = np.tile((0.5, 0.5, height - 0.5, height - 0.5), (num_rows, 1))
        column_B4, row_B4 = self._on_map(x_B4, y_B4)
        seen_Bhw = _touched(row_B4, num_y)[:, :, None] & _touched(column_B4, num_x)[:, None, :]
        if not self.affine:
            projective_B = (self.views.matrices[:, 2] != AFFINE_ROW).any(axis=1)
            seen_Bhw |= projective_B[:, None, None]
        low_B = np.where(seen_Bhw, cells_Bhw, 1.0).min(axis=(1, 2))
        high_B = np.where(seen_Bhw, cells_Bhw, 0.0).max(axis=(1, 2))
        # A clip may hide any part of the canvas, and there A_hat is 0.
        clipped_B = (self.views.half_planes != NO_CLIP).any(axis=(1, 2))
        return np.where(clipped_B, 0.0, low_B), high_B

    def dense(self, row: int) -> NDArray[np.float64]:
        """Return A_hat of one row at every output pixel: (H, W) float64."""
        height, width = self.views.size
        x_W, y_H = np.arange(width) + 0.5, np.arange(height) + 0.5
        matrix = self.views.matrices[row]
        if not self.affine or matrix[0, 1] != 0 or matrix[1, 0] != 0:
            y_HW, x_HW = np.meshgrid(y_H, x_W, indexing="ij")
            one = self.take(np.array([row]))
            return one.at(x_HW.reshape(1, -1), y_HW.reshape(1, -1)).reshape(height, width)
        # Rows and columns of the output are those of the map: two small matrix products.
        rows_Hh = axis_weights(matrix[1, 1] * y_H + matrix[1, 2], self.cells.shape[1])
        columns_Ww = axis_weights(matrix[0, 0] * x_W + matrix[0, 2], self.cells.shape[2])
        saliency_HW = np.clip(rows_Hh @ self.cells[row] @ columns_Ww.T, 0.0, 1.0)
        for a, b, c in self.views.half_planes[row]:
            saliency_HW *= a * x_W + (b * y_H[:, None] + c) > 0
        return saliency_HW

    def _on_map(
        self, x_BK: NDArray[np.float64], y_BK: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (column, row) in native cells, clamped to the outer cell centres: two (B, K)."""
        m_33B1 = self.views.matrices.transpose(1, 2, 0)[..., None]
        _, num_y, num_x = self.cells.shape
        places = [row[0] * x_BK + row[1] * y_BK + row[2] for row in m_33B1[:2]]
        if not self.affine:
            scale_BK = m_33B1[2, 0] * x_BK + m_33B1[2, 1] * y_BK + m_33B1[2, 2]
            # What lies behind the horizon is cut by a half plane: only keep it finite.
            scale_BK = np.where(scale_BK > 0, scale_BK, 1.0)
            places = [place_BK / scale_BK for place_BK in places]
        for place_BK, cells in zip(places, (num_x, num_y), strict=True):
            place_BK *= cells
            place_BK -= 0.5
            np.clip(place_BK, 0, cells - 1, out=place_BK)
        return places[0], places[1]


def _split(cell_BK: NDArray[np.float64], num_cells: int) -> tuple[NDArray[np.int64], int]:
    """Return the cell before each place and the step to the next; leave the fraction in place."""
    before_BK = np.minimum(cell_BK.astype(np.int64), max(num_cells - 2, 0))
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
