"""What a cache was made for, and matching a data set's samples to its rows by their ids.

Legend: M samples at hand, N rows of the cache.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cache_store.arrays import (
    ArraySpec,
    column_spec,
    decode_object,
    encode_group,
    encode_metadata,
    encode_object,
)
from cache_store.backend import Backend, require
from cache_store.errors import (
    CacheFormatError,
    CacheMismatchError,
    DamagedCacheError,
    PublishConflictError,
    StoreError,
)
from cache_store.layout import FORMAT_VERSION, GENERATIONS, IDENTITY, ROOT_METADATA, SAMPLES
from cache_store.records import check_version, decode_record, encode_record, sha256

SAMPLE_COLUMNS = {
    "sample_id": ("uint64", "hash of the sample's path or index, and its label"),
    "content_id": ("uint32", "hash of what is known of the image's content"),
    "label": ("int32", "class of the sample"),
}
"""Array name -> dtype and meaning of what is stored once a sample, for all generations."""
NAMES_SHOWN = 3
"""Samples named in a message; the rest is counted."""

logger = logging.getLogger("scae")


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What a cache was made for: stored in the root's attributes."""

    num_samples: int
    """N."""
    fingerprint: str
    """Hex SHA-256 over the samples' ids and contents, whatever their order."""
    data: str
    """Name of the data set, for people."""
    deep: bool | None = None
    """Whether content ids hash the images' bytes or what a listing tells; None: not known."""

    def as_dict(self) -> dict[str, Any]:
        """Return what is stored."""
        fields = {
            "format_version": FORMAT_VERSION,
            "num_samples": self.num_samples,
            "fingerprint": self.fingerprint,
            "data": self.data,
        }
        return fields if self.deep is None else {**fields, "deep": self.deep}

    @classmethod
    def decode(cls, data: bytes, url: str) -> Self:
        """Read it from the root's `zarr.json`.

        Raises:
            CacheFormatError: If that is not the root of a saliency cache, or of a newer format.
        """
        try:
            fields = json.loads(data)["attributes"]["scae"]
            check_version(fields.get("format_version"), url)
            deep = fields.get("deep")
            return cls(
                num_samples=int(fields["num_samples"]),
                fingerprint=str(fields["fingerprint"]),
                data=str(fields["data"]),
                deep=None if deep is None else bool(deep),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, CacheFormatError):
                raise
            raise CacheFormatError(
                f"{url} is not a saliency cache: its zarr.json has no attribute 'scae'"
            ) from error

    def require(self, other: "Identity", url: str) -> None:
        """Refuse data that the cache at `url` was not made for.

        Raises:
            CacheMismatchError: If `other`, the data at hand, differs in more than its name.
        """
        require_same_depth(url, cache=self.deep, data=other.deep)
        if (self.num_samples, self.fingerprint) != (other.num_samples, other.fingerprint):
            raise CacheMismatchError(
                f"cache {url} was made for {self.data} with {self.num_samples} samples and "
                f"fingerprint {self.fingerprint[:12]}, the data at hand, {other.data}, has "
                f"{other.num_samples} and {other.fingerprint[:12]}: make one for it with "
                "'scae refresh --cache' and another folder, or use the data set this one is for"
            )

    def differences(
        self,
        *,
        data: str,
        num_samples: int,
        fingerprint: str,
        classes: tuple[NDArray[np.int64], NDArray[np.int64]],
    ) -> str:
        """Name the fields in which data at hand differs, in one line.

        Args:
            data: Name of the data at hand.
            num_samples: Its number of samples.
            fingerprint: Its fingerprint.
            classes: Labels of the cache's rows and of the data at hand, each (N,) int64.
        """
        found, there = (len(np.unique(labels)) for labels in classes)
        fields = {
            "data": (self.data, data),
            "samples": (self.num_samples, num_samples),
            "classes": (found, there),
            "fingerprint": (self.fingerprint[:12], fingerprint[:12]),
        }
        differ = [f"{name} {a} there, {b} here" for name, (a, b) in fields.items() if a != b]
        return ", ".join(differ) or "the identities are equal"


def require_same_depth(url: str, *, cache: bool | None, data: bool | None) -> None:
    """Refuse to compare hashes of bytes with hashes of sizes; None is not known, so not refused.

    Raises:
        CacheMismatchError: If cache and data were not opened alike.
    """
    if cache is None or data is None or cache == data:
        return
    if cache:
        raise CacheMismatchError(
            f"cache {url} was made with --deep, so it knows hashes of the images' bytes, but the "
            "data was opened without: add --deep"
        )
    raise CacheMismatchError(
        f"cache {url} was made without --deep, so it knows no hashes of the images' bytes, but "
        "the data was opened with --deep: leave it out, or make a cache with "
        "'scae refresh --deep --cache' and another folder"
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RowMatch:
    """Which samples found their row."""

    rows: NDArray[np.int64]
    """(M,) int64 row of each sample; arbitrary where unknown."""
    unknown: NDArray[np.int64]
    """Numbers of the samples that have no row."""
    changed: NDArray[np.int64]
    """Numbers of the samples whose image is another than the map was made from."""


def find_rows(
    cache_ids: NDArray[np.uint64],
    cache_contents: NDArray[np.uint32],
    sample_ids: NDArray[np.uint64],
    content_ids: NDArray[np.uint64],
) -> RowMatch:
    """Find each sample's row in the cache, whatever the order of either; see `match_rows`."""
    if np.array_equal(cache_ids, sample_ids):
        rows = np.arange(len(cache_ids), dtype=np.int64)
    else:
        order = np.argsort(cache_ids, kind="stable")
        slots = np.minimum(np.searchsorted(cache_ids[order], sample_ids), len(cache_ids) - 1)
        rows = order[slots].astype(np.int64)
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
    return match.rows


def read_samples(backend: Backend, name: str, num_samples: int) -> NDArray[Any]:
    """Return a sample column, (N,) of its dtype, without checking it against a manifest."""
    spec = _sample_spec(name, num_samples)
    parts = [
        decode_object(spec, number, require(backend, spec.object_key(number)))
        for number in range(spec.num_objects)
    ]
    return np.concatenate(parts)


def write_samples(backend: Backend, columns: dict[str, NDArray[Any]]) -> None:
    """Write the sample columns: a creator's work before the root's metadata."""
    backend.write(f"{SAMPLES}/zarr.json", encode_group({}))
    for name, values in columns.items():
        spec = _sample_spec(name, len(values))
        backend.write(spec.metadata_key, encode_metadata(spec))
        for number in range(spec.num_objects):
            rows = values[number * spec.object_rows : (number + 1) * spec.object_rows]
            backend.write(spec.object_key(number), encode_object(spec, number, rows))


def claim_place(backend: Backend, identity: Identity, sample_ids: NDArray[np.uint64]) -> None:
    """Claim an empty place for one data set in one row order.

    Raises:
        StoreError: If it holds foreign files.
        PublishConflictError: If another data set or row order has claimed it.
    """
    ours = (f"{SAMPLES}/", f"{GENERATIONS}/", "_scae/")
    foreign = [info.key for info in backend.list("") if not info.key.startswith(ours)]
    if foreign:
        raise StoreError(
            f"{backend.url} is neither empty nor a cache, it holds {foreign[0]}: "
            "choose another --cache"
        )
    rows = sha256(sample_ids.astype("<u8").tobytes())
    claimed = {**identity.as_dict(), "rows": rows}
    if backend.create(IDENTITY, encode_record(claimed)):
        return
    data = require(backend, IDENTITY)
    if decode_record(data, f"{backend.url}/{IDENTITY}") != claimed:
        raise PublishConflictError(
            f"another job is making cache {backend.url} for other data or another row order, or "
            "died doing so: wait for it, or remove the folder"
        )


def check_claim(backend: Backend, identity: Identity) -> str:
    """Compare a cache's identity with the record that claimed its place, which has a checksum.

    Returns:
        Hex SHA-256 of the sample ids in row order.

    Raises:
        DamagedCacheError: If they differ, or the record is missing or has changed.
    """
    place = f"{backend.url}/{IDENTITY}"
    data = backend.read(IDENTITY)
    if data is None:
        raise DamagedCacheError(f"{place} is missing: run 'scae cache verify {backend.url}'")
    record = decode_record(data, place)
    rows = record.pop("rows", None)
    if record != identity.as_dict() or rows is None:
        raise DamagedCacheError(
            f"{place} and {ROOT_METADATA} name different data: "
            f"run 'scae cache verify {backend.url}'"
        )
    return str(rows)


def _names(numbers: NDArray[np.int64], describe: Callable[[int], str]) -> str:
    shown = ", ".join(describe(int(number)) for number in numbers[:NAMES_SHOWN])
    more = len(numbers) - NAMES_SHOWN
    are = "is" if len(numbers) == 1 else "are"
    return f"{are} {shown}" + (f" and {more} more" if more > 0 else "")


def _sample_spec(name: str, num_samples: int) -> ArraySpec:
    dtype, long_name = SAMPLE_COLUMNS[name]
    return column_spec(f"{SAMPLES}/{name}", num_samples, dtype, long_name)
