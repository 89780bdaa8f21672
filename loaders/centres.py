"""Draws the centres of erasing rectangles from Eq. 4, exactly and in microseconds.

A pixel drawn uniformly and accepted with probability exp(lambda * (A_hat - bound)) is distributed
as P(i, j) of Eq. 4 whatever the bound, as long as no exponent is positive. Taking the row's own
bound, the highest A_hat its view can see (the lowest for lambda < 0), lets a flat map or a view of
background alone accept at once, where the bound 1 would refuse most pixels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.errors import DataError, OptionError
from loaders.gains import check_size, exact_gains
from loaders.lookup import SaliencyField, look_up
from loaders.randomness import Uniforms
from loaders.view import View
from loaders.view_batch import ViewBatch

__all__ = ["exact_gains", "look_up", "sample_centres"]

# B rows, h w native cells, H W output pixels, K uniform numbers of a row, Q pending rows.

TRIES = 16
"""Pixels tried before a row is inverted exactly: bounds the time for any lambda and map."""

FIRST_TRIES = 4
"""Tries evaluated for all rows at once; the others only for rows still pending."""


def sample_centres(
    maps: NDArray[Any],
    size: tuple[int, int],
    lam: float | NDArray[np.floating[Any]],
    rng: Uniforms,
    *,
    gains: NDArray[np.floating[Any]] | None = None,
    floors: NDArray[np.floating[Any]] | None = None,
    views: Sequence[View] | ViewBatch | None = None,
) -> NDArray[np.int64]:
    """Draw one centre a row from P(i, j) of Eq. 4 over the output pixels.

    Args:
        maps: (B, h, w) uint8 (255 = 1.0), or floating in [0, 1], at their own resolution.
        size: (H, W) of the output images.
        lam: lambda of Eq. 4, a number or (B,); above 0 seeks salient pixels, below 0 spares them.
        rng: Gives uniform numbers; each row takes 2 * TRIES + 1 of them.
        gains: (B,) as stored with the maps; None computes them from `maps` and `size`.
        floors: (B,) as stored with the maps; given exactly where `gains` is.
        views: How the images were moved since the maps were made; None means not at all.

    Returns:
        (B, 2) int64 rows (y, x).

    Raises:
        DataError: If maps, size, gains, floors or views do not fit together.
        OptionError: If `lam` is not finite, or neither a number nor (B,).
    """
    check_size(size)
    if (gains is None) != (floors is None):
        raise DataError(
            "gains and floors must both be given or both be None, got one of them; "
            "both come from exact_gains or from the cache"
        )
    if gains is None or floors is None:
        gains, floors = exact_gains(maps, size)
    num_rows = len(maps)
    field = SaliencyField.build(maps, gains, floors, _checked_views(views, num_rows, size))
    lam_B = _checked_lam(lam, num_rows)
    uniforms_BK = rng.random((num_rows, 2 * TRIES + 1))
    centres_B2, pending_Q = _reject(field, lam_B, uniforms_BK)
    for row in pending_Q:
        centres_B2[row] = _invert(field.dense(row), float(lam_B[row]), uniforms_BK[row, -1])
    return centres_B2


def _checked_lam(lam: float | NDArray[np.floating[Any]], num: int) -> NDArray[np.float64]:
    lam_B = np.asarray(lam, dtype=np.float64)
    if lam_B.shape not in ((), (num,)):
        raise OptionError(f"lam must be a number or ({num},), got shape {lam_B.shape}")
    if not np.isfinite(lam_B).all():
        raise OptionError(f"lam must be finite, got {lam}")
    return np.broadcast_to(lam_B, (num,))


def _checked_views(
    views: Sequence[View] | ViewBatch | None, num: int, size: tuple[int, int]
) -> ViewBatch:
    if views is None or num == 0:
        return ViewBatch.whole(num, size)
    batch = views if isinstance(views, ViewBatch) else ViewBatch.stack(views)
    if tuple(batch.size) != tuple(size):
        raise DataError(f"size of the views must be that of the images, {size}, got {batch.size}")
    return batch


def _reject(
    field: SaliencyField, lam_B: NDArray[np.float64], uniforms_BK: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return centres (B, 2) int64, and the rows (Q,) that no try served."""
    low_B, high_B = field.bounds()
    offset_B = lam_B * np.where(lam_B >= 0, high_B, low_B)
    centres_B2 = np.zeros((len(lam_B), 2), dtype=np.int64)
    pending_Q = np.arange(len(lam_B))
    for first, last in ((0, FIRST_TRIES), (FIRST_TRIES, TRIES)):
        if first:
            field, uniforms_BK = field.take(pending_Q), uniforms_BK[pending_Q]
        y_QK, x_QK = _placed(uniforms_BK[:, first:last], field.views.size)
        exponent_QK = lam_B[pending_Q, None] * field.at(x_QK + 0.5, y_QK + 0.5)
        exponent_QK -= offset_B[pending_Q, None]
        taken_QK = uniforms_BK[:, TRIES + first : TRIES + last] < np.exp(exponent_QK)
        winner_Q = taken_QK.argmax(axis=1)
        each_Q = np.arange(len(winner_Q))
        centres_B2[pending_Q, 0] = y_QK[each_Q, winner_Q]
        centres_B2[pending_Q, 1] = x_QK[each_Q, winner_Q]
        pending_Q = pending_Q[~taken_QK[each_Q, winner_Q]]
        if not len(pending_Q):
            break
    return centres_B2, pending_Q


def _placed(
    uniforms_BK: NDArray[np.float64], size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return uniform pixels (y, x), whole numbers as float64.

    One number places both: floor(u * H) is the row and the fraction that is left, still 45 random
    bits at H = 224, the column.
    """
    scaled_BK = uniforms_BK * size[0]
    y_BK = np.floor(scaled_BK)
    scaled_BK -= y_BK
    scaled_BK *= size[1]
    return y_BK, np.floor(scaled_BK)


def _invert(saliency_HW: NDArray[np.float64], lam: float, uniform: float) -> tuple[int, int]:
    """Return the pixel (y, x) where the cumulative sum of Eq. 4 passes `uniform`."""
    exponent_HW = lam * saliency_HW
    weights_HW = np.exp(exponent_HW - exponent_HW.max())
    row_sums_H = np.cumsum(weights_HW.sum(axis=1))
    target = uniform * row_sums_H[-1]
    y = min(int(np.searchsorted(row_sums_H, target, side="right")), len(row_sums_H) - 1)
    column_sums_W = np.cumsum(weights_HW[y])
    target -= row_sums_H[y - 1] if y else 0.0
    x = min(int(np.searchsorted(column_sums_W, target, side="right")), len(column_sums_W) - 1)
    return y, x
