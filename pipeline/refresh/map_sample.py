"""A fixed choice of rows to measure, so that a report costs the same for any number of maps.

Legend: M rows chosen, h, w height and width of a map.
"""

import numpy as np
from numpy.typing import NDArray

from cache_store.generation import Generation

SAMPLE_ROWS = 2048
"""Rows that a report measures; where there are no more, all of them."""
RUN_ROWS = 32
"""Rows that are chosen next to each other: a run is read at once."""


def sample_rows(num_rows: int, limit: int | None = SAMPLE_ROWS) -> NDArray[np.intp]:
    """Choose rows: evenly spaced runs of `RUN_ROWS`, the same ones for every generation.

    Args:
        num_rows: Rows in all.
        limit: How many to choose at most, a multiple of `RUN_ROWS`; None for all of them.

    Returns:
        (M,) row numbers, ascending.
    """
    if limit is None or num_rows <= limit:
        return np.arange(num_rows)
    starts = np.linspace(0, num_rows - RUN_ROWS, limit // RUN_ROWS).astype(np.intp)
    return (starts[:, None] + np.arange(RUN_ROWS)).reshape(-1)


def read_maps(generation: Generation, rows_M: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Return the maps of some rows, (M, h, w) uint8, reading the chunks that hold them alone.

    Args:
        generation: Where to read.
        rows_M: (M,) row numbers; those that ascend by one are read together.

    Raises:
        DamagedCacheError: If an object is missing or has changed.
    """
    ends = np.flatnonzero(np.diff(rows_M) != 1) + 1
    runs = np.split(rows_M, ends)
    parts = [np.asarray(generation.saliency[int(run[0]) : int(run[-1]) + 1]) for run in runs]
    maps_Mhw: NDArray[np.uint8] = np.concatenate(parts)
    return maps_Mhw
