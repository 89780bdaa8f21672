"""Matching a data set's samples to a cache's rows by their ids, whatever the order of either.

Legend: M samples at hand, N rows of the cache.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache_store.errors import CacheMismatchError

NAMES_SHOWN = 3
"""Samples named in a message; the rest is counted."""

logger = logging.getLogger("scae")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RowMatch:
    """Which samples found their row."""

    rows: NDArray[np.int64]
    """(M,) int64 row of each sample; arbitrary where unknown."""
    unknown: NDArray[np.int64]
    """Numbers of the samples that have no row."""
    changed: NDArray[np.int64]
    """Numbers of the samples whose image is another than the map was made from."""


def rows_of(ids: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the row of each wanted id, whatever the order of either.

    Args:
        ids: (N,) uint64, each once; at least one.
        wanted: (M,) uint64.

    Returns:
        (M,) int64 rows; arbitrary for an id that is not there.
    """
    if np.array_equal(ids, wanted):
        return np.arange(len(ids), dtype=np.int64)
    order = np.argsort(ids, kind="stable")
    slots = np.minimum(np.searchsorted(ids[order], wanted), len(ids) - 1)
    return order[slots].astype(np.int64)


def find_rows(
    cache_ids: NDArray[np.uint64],
    cache_contents: NDArray[np.uint32],
    sample_ids: NDArray[np.uint64],
    content_ids: NDArray[np.uint64],
) -> RowMatch:
    """Find each sample's row in the cache, whatever the order of either; see `match_rows`."""
    rows = rows_of(cache_ids, sample_ids)
    known = cache_ids[rows] == sample_ids
    return RowMatch(
        rows=rows,
        unknown=np.flatnonzero(~known),
        changed=np.flatnonzero(known & (cache_contents[rows] != content_ids.astype(np.uint32))),
    )


def match_rows(
    cache_ids: NDArray[np.uint64],
    cache_contents: NDArray[np.uint32],
    sample_ids: NDArray[np.uint64],
    content_ids: NDArray[np.uint64],
    *,
    place: str,
    cure: str,
    accept_stale: bool = False,
    fingerprints: tuple[str, str] = ("", ""),
    describe: Callable[[int], str] = "sample {}".format,
    differences: Callable[[], str] | None = None,
) -> NDArray[np.int64]:
    """Return each sample's row in the cache, whatever the order of either.

    Args:
        cache_ids: (N,) uint64 ids of the cache's rows.
        cache_contents: (N,) uint32 hashes of the images that the maps were made from.
        sample_ids: (M,) uint64 ids of the samples at hand; a subset of the cache's is fine.
        content_ids: (M,) uint64 hashes of the images at hand; their low 32 bits are compared.
        place: The cache, for messages.
        cure: The command that makes a right cache, for messages.
        accept_stale: Use the maps of images that have changed, and say so in the log. Samples
            without a row are never accepted.
        fingerprints: Of the cache and of the data at hand; they must be equal if the samples are
            the same. 32 bits of a hash miss one change in 2^32, a fingerprint none.
        describe: From a sample's number to its name, for messages.
        differences: Returns which fields of the identities differ, for messages.

    Returns:
        (M,) int64 rows.

    Raises:
        CacheMismatchError: If a sample has no row, or its image has changed.
    """
    match = find_rows(cache_ids, cache_contents, sample_ids, content_ids)
    num = len(sample_ids)
    changed = (
        f"{len(match.changed)} of {num} images have changed since cache {place} was made, "
        f"the first {_names(match.changed, describe)}"
    )
    refused = len(match.unknown) or (len(match.changed) and not accept_stale)
    differ = f"; {differences()}" if refused and differences is not None else ""
    if len(match.unknown):
        also = f"; {changed}" if len(match.changed) else ""
        raise CacheMismatchError(
            f"cache {place} has no row for {len(match.unknown)} of the {num} samples "
            f"(it has {len(cache_ids)} rows), the first {_names(match.unknown, describe)}{also}"
            f"{differ}: it was made for other data; {cure}"
        )
    if len(match.changed) and not accept_stale:
        raise CacheMismatchError(
            f"{changed}{differ}; {cure}, or accept their old maps with --accept-stale"
        )
    if len(match.changed):
        logger.warning("%s: their old maps are used (--accept-stale)", changed)
    elif num == len(cache_ids) and fingerprints[0] != fingerprints[1]:
        differ = f"; {differences()}" if differences is not None else ""
        unnamed = f"cache {place} has the same samples, yet the data has changed since{differ}"
        if not accept_stale:
            raise CacheMismatchError(
                f"{unnamed}; {cure}, or accept the old maps with --accept-stale"
            )
        logger.warning("%s: the old maps are used (--accept-stale)", unnamed)
    return match.rows


def _names(numbers: NDArray[np.int64], describe: Callable[[int], str]) -> str:
    shown = ", ".join(describe(int(number)) for number in numbers[:NAMES_SHOWN])
    more = len(numbers) - NAMES_SHOWN
    are = "is" if len(numbers) == 1 else "are"
    return f"{are} {shown}" + (f" and {more} more" if more > 0 else "")
