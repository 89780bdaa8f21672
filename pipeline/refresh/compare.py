"""How far two generations of maps lie apart: in ranks, in peaks, and in what the sampler does.

Maps are read and compared a chunk at a time: beside the ids, what a comparison holds does not grow
with the caches.

Legend: B samples of a chunk, M samples in both, h, w sides of a map.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_store.generation import Generation
from pipeline.errors import RefreshError
from pipeline.refresh.map_distances import (
    Progress,
    peaks_moved,
    rank_correlations,
    tv_distances,
)
from pipeline.refresh.map_sample import read_maps, sample_rows

CHUNK_MAPS = 16_384
"""Maps of either generation that are held at once."""
NUM_BINS = 40
"""Bins of a histogram."""
RANK_RANGE, TV_RANGE = (-1.0, 1.0), (0.0, 1.0)
"""What the histograms reach over."""


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
    rank_counts: tuple[int, ...]
    """Histogram of Spearman's coefficient: samples in each of 40 equal bins over [-1, 1]."""
    tv_counts: tuple[int, ...]
    """Histogram of the total variation: samples in each of 40 equal bins over [0, 1]."""
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
    first_M, second_M, num = _match(first, second, sample)
    size = first.provenance.size
    tally = _Tally(num_worst)
    done = 0
    for chunk in _chunks(first, second, first_M, second_M):
        tv_B = tv_distances(*chunk.maps, size, lam, _later(progress, done, len(first_M)))
        tally.add(chunk, tv_B)
        done += len(chunk.ids)
    return MapComparison(
        lam=lam,
        size=size,
        num_common=num,
        num_compared=len(first_M),
        num_first_only=len(first) - num,
        num_second_only=len(second) - num,
        num_equal=tally.num_equal,
        num_flat=(tally.num_flat[0], tally.num_flat[1]),
        rank_correlation=tally.rank_sum / tally.num_ranked if tally.num_ranked else None,
        peaks_moved=tally.num_moved / len(first_M),
        tv_distance=tally.tv_sum / len(first_M),
        rank_counts=tuple(tally.rank_counts.tolist()),
        tv_counts=tuple(tally.tv_counts.tolist()),
        worst=tuple(tally.worst),
    )


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class _Chunk:
    """Some of the samples that are compared."""

    ids: NDArray[np.uint64]
    """(B,) ids."""
    rows: tuple[NDArray[np.intp], NDArray[np.intp]]
    """(B,) rows in the first and in the second."""
    maps: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    """(B, h, w) maps of the first and of the second."""


@dataclass(eq=False, slots=True)
class _Tally:
    """What is known of the chunks so far."""

    num_worst: int
    num_equal: int = 0
    num_flat: list[int] = field(default_factory=lambda: [0, 0])
    num_moved: int = 0
    num_ranked: int = 0
    rank_sum: float = 0.0
    tv_sum: float = 0.0
    rank_counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NUM_BINS, np.int64))
    tv_counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NUM_BINS, np.int64))
    worst: list[SampleDifference] = field(default_factory=list)

    def add(self, chunk: _Chunk, tv_B: NDArray[np.float64]) -> None:
        """Add a chunk whose total variation is known."""
        one_Bhw, two_Bhw = chunk.maps
        correlation_B = rank_correlations(one_Bhw, two_Bhw)
        moved_B = peaks_moved(one_Bhw, two_Bhw)
        known_B = np.isfinite(correlation_B)
        self.num_equal += int((one_Bhw == two_Bhw).all((1, 2)).sum())
        for side, maps_Bhw in enumerate(chunk.maps):
            self.num_flat[side] += int((maps_Bhw.max((1, 2)) == maps_Bhw.min((1, 2))).sum())
        self.num_moved += int(moved_B.sum())
        self.num_ranked += int(known_B.sum())
        self.rank_sum += float(correlation_B[known_B].sum())
        self.tv_sum += float(tv_B.sum())
        self.rank_counts += _counts(correlation_B[known_B], RANK_RANGE)
        self.tv_counts += _counts(tv_B, TV_RANGE)
        found = [
            SampleDifference(
                sample_id=int(chunk.ids[b]),
                first_row=int(chunk.rows[0][b]),
                second_row=int(chunk.rows[1][b]),
                tv_distance=float(tv_B[b]),
                rank_correlation=float(correlation_B[b]) if known_B[b] else None,
                peak_moved=bool(moved_B[b]),
            )
            for b in np.argsort(-tv_B, kind="stable")[: self.num_worst]
        ]
        # Sorting is stable: of equal distances, the sample that comes first stays first.
        every = sorted([*self.worst, *found], key=lambda one: -one.tv_distance)
        self.worst = every[: self.num_worst]


def _later(progress: Progress, before: int, total: int) -> Progress:
    """Count from what was done before a chunk."""
    return lambda done, _: progress(before + done, total)


def _counts(values: NDArray[np.float64], reach: tuple[float, float]) -> NDArray[np.int64]:
    """Return the histogram of values, whose last digits may lie outside its range."""
    counts, _ = np.histogram(np.clip(values, *reach), NUM_BINS, reach)
    return counts.astype(np.int64)


def _chunks(
    first: Generation,
    second: Generation,
    first_M: NDArray[np.intp],
    second_M: NDArray[np.intp],
) -> Iterator[_Chunk]:
    """Read the maps of the samples at rows of the first and rows of the second, in order."""
    for start in range(0, len(first_M), CHUNK_MAPS):
        part = slice(start, start + CHUNK_MAPS)
        rows = first_M[part], second_M[part]
        yield _Chunk(
            ids=first.sample_ids[rows[0]],
            rows=rows,
            maps=(read_maps(first, rows[0]), read_maps(second, rows[1])),
        )


def _match(
    first: Generation, second: Generation, sample: int | None
) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Find the rows of samples that both have, in the first one's order, and how many there are."""
    shapes = [one.manifest.plan.map_shape for one in (first, second)]
    if shapes[0] != shapes[1]:
        (h, w), (other_h, other_w) = shapes
        raise RefreshError(
            f"maps of {first!r} are {h}x{w}, those of {second!r} {other_h}x{other_w}: "
            "only maps of one shape can be compared"
        )
    if first.url == second.url:  # the rows of a cache are the same samples in every generation
        rows_M = sample_rows(len(first), sample)
        return rows_M, rows_M, len(first)
    ids_M, first_M, second_M = np.intersect1d(
        first.sample_ids, second.sample_ids, assume_unique=True, return_indices=True
    )
    if not len(ids_M):
        raise RefreshError(
            f"{first!r} and {second!r} have no sample in common: compare caches of one data set"
        )
    chosen_M = np.argsort(first_M)[sample_rows(len(ids_M), sample)]
    return first_M[chosen_M], second_M[chosen_M], len(ids_M)
