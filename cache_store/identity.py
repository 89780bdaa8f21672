"""Matching a data set's samples to a cache's rows by their ids.

Legend: M samples at hand, N rows of the cache.
"""

import numpy as np
from numpy.typing import NDArray

from cache_store.errors import CacheMismatchError


def match_rows(
    cache_ids: NDArray[np.uint64],
    cache_contents: NDArray[np.uint64],
    sample_ids: NDArray[np.uint64],
    content_ids: NDArray[np.uint64],
    *,
    place: str,
    cure: str,
) -> NDArray[np.int64]:
    """Return each sample's row in the cache, whatever the order of either.

    Args:
        cache_ids: (N,) uint64 ids of the cache's rows.
        cache_contents: (N,) uint64 hashes of the images that the maps were made from.
        sample_ids: (M,) uint64 ids of the samples at hand; a subset of the cache's is fine.
        content_ids: (M,) uint64 hashes of the images at hand.
        place: The cache, for messages.
        cure: The command that makes a right cache, for messages.

    Returns:
        (M,) int64 rows.

    Raises:
        CacheMismatchError: If a sample has no row, or its image has changed.
    """
    if np.array_equal(cache_ids, sample_ids):
        rows = np.arange(len(cache_ids), dtype=np.int64)
    else:
        order = np.argsort(cache_ids, kind="stable")
        slots = np.minimum(np.searchsorted(cache_ids[order], sample_ids), len(cache_ids) - 1)
        rows = order[slots].astype(np.int64)
    unknown = int(np.count_nonzero(cache_ids[rows] != sample_ids))
    if unknown:
        raise CacheMismatchError(
            f"cache {place} has no row for {unknown} of the {len(sample_ids)} samples "
            f"(it has {len(cache_ids)} rows): it was made for other data; {cure}"
        )
    changed = np.flatnonzero(cache_contents[rows] != content_ids)
    if len(changed):
        raise CacheMismatchError(
            f"{len(changed)} of {len(sample_ids)} images have changed since cache {place} was "
            f"made, the first is sample {changed[0]}; {cure}"
        )
    return rows
