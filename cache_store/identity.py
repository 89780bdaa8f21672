"""What a cache was made for, and the claim of a place for it.

Legend: N samples.
"""

import json
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

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
                f"{url} is not a saliency cache: its zarr.json has no attribute 'scae'; name the "
                "folder that 'scae refresh --cache' was given"
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
