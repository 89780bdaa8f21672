"""How far two generations of maps lie apart: in ranks, in peaks, and in what the sampler does.

Legend: B samples of a chunk, M samples in both, C cells of a map, h, w its sides, S side of the
image in pixels.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_store.gains import axis_weights, gains_and_floors
from cache_store.generation import Generation
from loaders.lookup import SaliencyField
from loaders.view_batch import ViewBatch
from pipeline.errors import RefreshError
from pipeline.refresh.map_sample import read_maps, sample_rows

Progress = Callable[[int, int], None]

CHUNK_PIXELS = 4_000_000
"""Pixels whose densities are held at once."""
LEVELS = 256
"""Levels of a stored map."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleDifference:
    """One sample in both generations."""

    sample_id: int
    """Its id, unsigned 64-bit."""
    first_row: int
    """Row in the first cache."""
    second_row: int
    """Row in the second cache."""
    tv_distance: float
    """Total variation between the two densities of Eq. 4, in [0, 1]."""
    rank_correlation: float | None
    """Spearman's coefficient over the cells, None where a map is flat."""
    peak_moved: bool
    """Whether no cell is the highest in both maps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MapComparison:
    """What two generations have in common."""

    lam: float
    """Guidance strength of Eq. 4."""
    size: int
    """Side in pixels of the image that the densities are over."""
    num_common: int
    """Samples in both."""
    num_compared: int
    """Samples whose maps were compared: all in both, unless a sample was asked for."""
    num_first_only: int
    """Samples without a row in the second."""
    num_second_only: int
    """Samples without a row in the first."""
    num_equal: int
    """Maps that are the same to the bit."""
    num_flat: tuple[int, int]
    """Maps in the first and in the second whose cells are all equal; they have no ranks."""
    rank_correlation: float | None
    """Mean of Spearman's coefficient over samples with two maps that are not flat."""
    peaks_moved: float
    """Share of the samples whose maps have no highest cell in common."""
    tv_distance: float
    """Mean total variation between the two densities, in [0, 1]."""
    worst: tuple[SampleDifference, ...]
    """Samples of the largest distance, the worst first."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def compare_generations(
    first: Generation,
    second: Generation,
    *,
    lam: float = 2.0,
    num_worst: int = 10,
    sample: int | None = None,
    progress: Progress = lambda _done, _total: None,
) -> MapComparison:
    """Compare the maps of the samples that two generations share, whatever their order.

    Args:
        first: One generation.
        second: Another one, of the same cache or not.
        lam: Guidance strength of Eq. 4, finite.
        num_worst: How many samples to name.
        sample: Compare that many maps at most, chosen by `map_sample`; None for all.
        progress: Called with samples done and samples in all.

    Raises:
        RefreshError: If they share no sample, or their maps have different shapes.
        DamagedCacheError: If an object of either is missing or has changed.
    """
    if not math.isfinite(lam):
        raise RefreshError(f"lambda must be finite, got {lam}")
    one, two, num = _match(first, second, sample)
    size = first.provenance.size
    tv_M = tv_distances(one.maps, two.maps, size, lam, progress)
    correlation_M = rank_correlations(one.maps, two.maps)
    moved_M = peaks_moved(one.maps, two.maps)
    known_M = np.isfinite(correlation_M)
    worst = [
        SampleDifference(
            sample_id=int(first.sample_ids[one.rows[m]]),
            first_row=int(one.rows[m]),
            second_row=int(two.rows[m]),
            tv_distance=float(tv_M[m]),
            rank_correlation=float(correlation_M[m]) if known_M[m] else None,
            peak_moved=bool(moved_M[m]),
        )
        for m in np.argsort(-tv_M, kind="stable")[:num_worst]
    ]
    return MapComparison(
        lam=lam,
        size=size,
        num_common=num,
        num_compared=len(one.rows),
        num_first_only=len(first) - num,
        num_second_only=len(second) - num,
        num_equal=int((one.maps == two.maps).all((1, 2)).sum()),
        num_flat=(one.num_flat(), two.num_flat()),
        rank_correlation=float(correlation_M[known_M].mean()) if known_M.any() else None,
        peaks_moved=float(moved_M.mean()),
        tv_distance=float(tv_M.mean()),
        worst=tuple(worst),
    )


@dataclass(frozen=True, eq=False, slots=True)
class _Side:
    """One generation's part in a comparison."""

    rows: NDArray[np.intp]
    """(M,) rows of the common samples."""
    maps: NDArray[np.uint8]
    """(M, h, w) their maps."""

    def num_flat(self) -> int:
        """Count the maps whose cells are all equal."""
        return int((self.maps.max(axis=(1, 2)) == self.maps.min(axis=(1, 2))).sum())


def _match(first: Generation, second: Generation, sample: int | None) -> tuple[_Side, _Side, int]:
    """Find rows of samples that both have, in the first one's order, and how many there are."""
    shapes = [one.manifest.plan.map_shape for one in (first, second)]
    if shapes[0] != shapes[1]:
        (h, w), (other_h, other_w) = shapes
        raise RefreshError(
            f"maps of {first!r} are {h}x{w}, those of {second!r} {other_h}x{other_w}: "
            "only maps of one shape can be compared"
        )
    if first.url == second.url:  # the rows of a cache are the same samples in every generation
        num = len(first)
        first_M = second_M = sample_rows(num, sample)
    else:
        ids_M, first_M, second_M = np.intersect1d(
            first.sample_ids, second.sample_ids, assume_unique=True, return_indices=True
        )
        num = len(ids_M)
        if not num:
            raise RefreshError(
                f"{first!r} and {second!r} have no sample in common: compare caches of one data set"
            )
        chosen_M = np.argsort(first_M)[sample_rows(num, sample)]
        first_M, second_M = first_M[chosen_M], second_M[chosen_M]
    one, two = (
        _Side(rows_M, read_maps(side, rows_M))
        for side, rows_M in ((first, first_M), (second, second_M))
    )
    return one, two, num


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
