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
from loaders.randomness import KeyedStream, Uniforms
from loaders.view import View
from loaders.view_batch import ViewBatch

__all__ = ["centres_and_saliency", "exact_gains", "look_up", "sample_centres"]

# B rows, h w native cells, H W output pixels, K tries of a row, Q pending rows.

ROUNDS = (12, 20, 224, 768)
"""Pixels tried in turn, each time for the rows still pending. A row that none of the 1,024 serves
is inverted exactly, which bounds the time for any lambda and map: that costs as much as about 2,000
tries, through a turned view 20,000."""

DENSE_PIXELS = 1 << 18
"""Pixels inverted at the same time: few enough for a processor's cache."""


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
        rng: Gives uniform numbers, one a try. Rows that the first tries don't serve take more; of a
            `KeyedStream` they alone.
        gains: (B,) as stored with the maps; None computes them from `maps` and `size`.
        floors: (B,) as stored with the maps; given exactly where `gains` is.
        views: How the images were moved since the maps were made; None means not at all.

    Returns:
        (B, 2) int64 rows (y, x).

    Raises:
        DataError: If maps, size, gains, floors or views do not fit together.
        OptionError: If `lam` is not finite, or neither a number nor (B,).
    """
    return centres_and_saliency(maps, size, lam, rng, gains=gains, floors=floors, views=views)[0]


def centres_and_saliency(
    maps: NDArray[Any],
    size: tuple[int, int],
    lam: float | NDArray[np.floating[Any]],
    rng: Uniforms,
    *,
    gains: NDArray[np.floating[Any]] | None = None,
    floors: NDArray[np.floating[Any]] | None = None,
    views: Sequence[View] | ViewBatch | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw as `sample_centres` does, and return A_hat there too: (B,) float64 in [0, 1]."""
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
    centres_B2, saliency_B, pending_Q, rng = _reject(field, lam_B, rng)
    if len(pending_Q):
        uniforms_Q = rng.random((len(pending_Q), 1))[:, 0]
        left = field.take(pending_Q)
        centres_Q2 = _invert(left, lam_B[pending_Q], uniforms_Q)
        centres_B2[pending_Q] = centres_Q2
        places_Q2 = centres_Q2.astype(np.float64) + 0.5
        saliency_B[pending_Q] = left.at(places_Q2[:, 1:], places_Q2[:, :1])[:, 0]
    return centres_B2, saliency_B


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
    field: SaliencyField, lam_B: NDArray[np.float64], rng: Uniforms
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], Uniforms]:
    """Return centres (B, 2) int64, A_hat at them (B,), and the rows (Q,) that no try served.

    And the stream of these rows, from where it goes on.
    """
    low_B, high_B = field.bounds()
    lam_Q, offset_Q = lam_B, lam_B * np.where(lam_B >= 0, high_B, low_B)
    centres_B2 = np.zeros((len(lam_B), 2), dtype=np.int64)
    saliency_B = np.zeros(len(lam_B))
    pending_Q = np.arange(len(lam_B))
    for tries in ROUNDS:
        y_QK, x_QK, rest_QK = _placed(rng.random((len(pending_Q), tries)), field.views.size)
        saliency_QK = field.at(x_QK + 0.5, y_QK + 0.5)
        exponent_QK = saliency_QK * lam_Q[:, None]
        exponent_QK -= offset_Q[:, None]
        taken_QK = rest_QK < np.exp(exponent_QK, out=exponent_QK)
        winner_Q = taken_QK.argmax(axis=1)
        each_Q = np.arange(len(winner_Q))
        centres_B2[pending_Q, 0] = y_QK[each_Q, winner_Q]
        centres_B2[pending_Q, 1] = x_QK[each_Q, winner_Q]
        saliency_B[pending_Q] = saliency_QK[each_Q, winner_Q]
        left = np.flatnonzero(~taken_QK[each_Q, winner_Q])
        pending_Q = pending_Q[left]
        if isinstance(rng, KeyedStream):
            rng = rng.take(left)
        if not len(left):
            break
        field, lam_Q, offset_Q = field.take(left), lam_Q[left], offset_Q[left]
    return centres_B2, saliency_B, pending_Q, rng


def _placed(
    uniforms_BK: NDArray[np.float64], size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return uniform pixels (y, x), whole numbers as float64, and a uniform number beside them.

    One number gives all three: floor(u * H) is the row, what is left the column, and what is left
    of that, still 37 random bits at 224 x 224, decides about the try.
    """
    uniforms_BK = uniforms_BK * size[0]
    y_BK = np.floor(uniforms_BK)
    uniforms_BK -= y_BK
    uniforms_BK *= size[1]
    x_BK = np.floor(uniforms_BK)
    uniforms_BK -= x_BK
    return y_BK, x_BK, uniforms_BK


def _invert(
    field: SaliencyField, lam_B: NDArray[np.float64], uniforms_B: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the pixel (y, x) of each row where the cumulative sum of Eq. 4 passes its number."""
    centres_B2 = np.zeros((len(lam_B), 2), dtype=np.int64)
    height, width = field.views.size
    at_once = max(DENSE_PIXELS // (height * width), 1)
    for start in range(0, len(lam_B), at_once):
        part = np.arange(start, min(start + at_once, len(lam_B)))
        saliency_RHW = field.take(part).dense()
        centres_B2[part] = _inverted(saliency_RHW, lam_B[part], uniforms_B[part])
    return centres_B2


def _inverted(
    saliency_RHW: NDArray[np.float64], lam_R: NDArray[np.float64], uniforms_R: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return (R, 2) int64 rows (y, x); `saliency_RHW` is spent."""
    saliency_RHW *= lam_R[:, None, None]
    saliency_RHW -= saliency_RHW.max(axis=(1, 2), keepdims=True)
    weights_RHW = np.exp(saliency_RHW, out=saliency_RHW)
    each_R = np.arange(len(lam_R))
    sums_RH = weights_RHW.sum(axis=2).cumsum(axis=1)
    target_R = uniforms_R * sums_RH[:, -1]
    y_R = _first_above(sums_RH, target_R)
    target_R -= np.where(y_R > 0, sums_RH[each_R, y_R - 1], 0.0)
    x_R = _first_above(weights_RHW[each_R, y_R].cumsum(axis=1), target_R)
    return np.stack((y_R, x_R), axis=1)


def _first_above(
    rising_RK: NDArray[np.float64], target_R: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the first place whose value is above the target, the last one for want of any."""
    place_R = (rising_RK <= target_R[:, None]).sum(axis=1)
    return np.minimum(place_R, rising_RK.shape[1] - 1)
