"""How far two maps of one sample lie apart: in ranks, in peaks, and in what the sampler does.

Legend: B samples of a chunk, M samples, C cells of a map, h, w its sides, L levels of a stored
map, S side of the image in pixels.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cache_store.gains import axis_weights, gains_and_floors
from loaders.lookup import SaliencyField
from loaders.view_batch import ViewBatch

Progress = Callable[[int, int], None]

CHUNK_PIXELS = 4_000_000
"""Pixels whose densities are held at once."""
LEVELS = 256
"""Levels of a stored map."""


def average_ranks(maps_BC: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return each cell's rank in its row, from 1, ties sharing their mean: (B, C) float64."""
    num_rows = len(maps_BC)
    # Levels are few, so counting them gives all ranks of all rows without a sort.
    slots_BC = np.arange(num_rows)[:, None] * LEVELS + maps_BC
    counts_BL = np.bincount(slots_BC.reshape(-1), minlength=num_rows * LEVELS)
    counts_BL = counts_BL.reshape(num_rows, LEVELS)
    ranks_BL = np.cumsum(counts_BL, axis=1) - (counts_BL - 1) / 2
    ranks_BC: NDArray[np.float64] = ranks_BL.reshape(-1)[slots_BC]
    return ranks_BC


def rank_correlations(
    first_Mhw: NDArray[np.uint8], second_Mhw: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Return Spearman's coefficient of each pair of maps, NaN where one is flat: (M,) float64."""
    parts = [np.empty(0)]
    for start in range(0, len(first_Mhw), 4096):
        ranks = [
            average_ranks(maps[start : start + 4096].reshape(-1, maps[0].size))
            for maps in (first_Mhw, second_Mhw)
        ]
        one_BC, two_BC = (part - part.mean(axis=1, keepdims=True) for part in ranks)
        spread_B = np.sqrt((one_BC**2).sum(axis=1) * (two_BC**2).sum(axis=1))
        covariance_B = (one_BC * two_BC).sum(axis=1)
        nothing_B = np.full(len(spread_B), np.nan)
        parts.append(np.divide(covariance_B, spread_B, out=nothing_B, where=spread_B > 0))
    return np.concatenate(parts)


def peaks_moved(first_Mhw: NDArray[np.uint8], second_Mhw: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell of each pair of maps whether no cell is the highest in both: (M,) bool."""
    peaks = [maps == maps.max(axis=(1, 2), keepdims=True) for maps in (first_Mhw, second_Mhw)]
    moved_M: NDArray[np.bool_] = ~(peaks[0] & peaks[1]).any(axis=(1, 2))
    return moved_M


def tv_distances(
    first_Mhw: NDArray[np.uint8],
    second_Mhw: NDArray[np.uint8],
    size: int,
    lam: float,
    progress: Progress = lambda _done, _total: None,
) -> NDArray[np.float64]:
    """Return half the L1 distance between two densities of Eq. 4 over all pixels of each sample.

    Args:
        first_Mhw: (M, h, w) uint8 maps, 255 = 1.0.
        second_Mhw: Others of the same samples; h and w may differ from the first ones'.
        size: Side in pixels of the image that the densities are over.
        lam: Guidance strength of Eq. 4.
        progress: Called with samples done and samples in all.

    Returns:
        (M,) float64 in [0, 1].
    """
    num = len(first_Mhw)
    normalisers = [
        (maps, *gains_and_floors(maps, (size, size))) for maps in (first_Mhw, second_Mhw)
    ]
    distances_M = np.empty(num)
    step = max(1, CHUNK_PIXELS // size**2)
    for start in range(0, num, step):
        part = slice(start, min(start + step, num))
        one_BSS, two_BSS = (
            _density(maps[part], gains[part], floors[part], size, lam)
            for maps, gains, floors in normalisers
        )
        distances_M[part] = np.abs(one_BSS - two_BSS).sum(axis=(1, 2)) / 2
        progress(part.stop, num)
    return distances_M


def _density(
    maps_Bhw: NDArray[np.uint8],
    gains_B: NDArray[np.float32],
    floors_B: NDArray[np.float32],
    size: int,
    lam: float,
) -> NDArray[np.float64]:
    """Return P(i, j) of Eq. 4 over the whole image: (B, S, S) float64, each summing to 1."""
    views = ViewBatch.whole(len(maps_Bhw), (size, size))
    cells_Bhw = SaliencyField.build(maps_Bhw, gains_B, floors_B, views).cells
    places_S = (np.arange(size) + 0.5) / size
    rows_Sh, columns_Sw = (axis_weights(places_S, cells) for cells in cells_Bhw.shape[1:])
    weights_BSS: NDArray[np.float64] = rows_Sh @ cells_Bhw @ columns_Sw.T
    np.clip(weights_BSS, 0.0, 1.0, out=weights_BSS)
    np.exp(lam * weights_BSS - max(lam, 0.0), out=weights_BSS)
    weights_BSS /= weights_BSS.sum(axis=(1, 2), keepdims=True)
    return weights_BSS
