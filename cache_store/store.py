"""The saliency cache of one data set: create, open, write generations, read them.

Legend: N samples, K classes.
"""

import json
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cache_store.arrays import (
    NUM_NEIGHBOURS,
    ArraySpec,
    column_spec,
    decode_object,
    encode_group,
    encode_metadata,
    encode_object,
)
from cache_store.backend import Backend, open_backend, require
from cache_store.errors import (
    CacheFormatError,
    CacheMismatchError,
    CacheNotFoundError,
    DamagedCacheError,
    PublishConflictError,
    StoreError,
)
from cache_store.generation import Generation
from cache_store.layout import (
    FORMAT_VERSION,
    GENERATIONS,
    IDENTITY,
    PUBLISHED,
    ROOT_METADATA,
    SAMPLES,
    published_key,
    record_number,
)
from cache_store.manifest import read_manifest
from cache_store.publish import publish_generation
from cache_store.records import check_version, decode_record, encode_record, sha256
from cache_store.writer import GenerationPlan, GenerationWriter, claim

_SAMPLE_COLUMNS = {
    "sample_id": ("uint64", "hash of the sample's path or index, and its label"),
    "content_id": ("uint64", "hash of what is known of the image's content"),
    "label": ("int32", "class of the sample"),
}
"""Array name -> dtype and meaning of what is stored once a sample, for all generations."""


class SaliencyStore:
    """The cache of one data set. Open it with `open` or `create`, not directly."""

    def __init__(self, backend: Backend, identity: dict[str, Any], *, writable: bool) -> None:
        self._backend = backend
        self._writable = writable
        self.num_samples = int(identity["num_samples"])
        self.fingerprint = str(identity["fingerprint"])
        self.data = str(identity["data"])

    @property
    def url(self) -> str:
        """Path or URL of the cache."""
        return self._backend.url

    @classmethod
    def open(cls, url: str | Path, mode: Literal["r", "r+"] = "r", *, fsync: bool = True) -> Self:
        """Open an existing cache.

        Args:
            url: Local folder, `file://` URL or `memory://NAME`.
            mode: 'r' to read, 'r+' to write generations as well.
            fsync: Whether writes wait until the disk has them.

        Raises:
            CacheNotFoundError: If there is no cache.
            CacheFormatError: If it is of a newer format, or not a saliency cache.
        """
        if mode not in ("r", "r+"):
            raise StoreError(f"mode must be 'r' or 'r+', got {mode!r}")
        backend = open_backend(url, fsync=fsync)
        data = backend.read(ROOT_METADATA)
        if data is None:
            raise CacheNotFoundError(f"no cache at {backend.url}: make one with 'scae refresh'")
        return cls(backend, _identity(data, backend.url), writable=mode == "r+")

    @classmethod
    def create(
        cls,
        url: str | Path,
        *,
        sample_ids: NDArray[np.uint64],
        content_ids: NDArray[np.uint64],
        labels: NDArray[np.int64],
        fingerprint: str,
        data: str,
        fsync: bool = True,
    ) -> Self:
        """Make a cache for a data set, or open the one that is there for the same data.

        Args:
            url: Local folder, `file://` URL or `memory://NAME`.
            sample_ids: (N,) uint64, row i is sample i of the training set as trained.
            content_ids: (N,) uint64 hashes of the images.
            labels: (N,) int64 class of each sample.
            fingerprint: Hex SHA-256 over the data set.
            data: Name of the data set, for people.
            fsync: Whether writes wait until the disk has them.

        Raises:
            CacheMismatchError: If there is a cache for other data.
        """
        backend = open_backend(url, fsync=fsync)
        if len(sample_ids) == 0:
            raise StoreError(f"can't make cache {backend.url}: the data set has no samples")
        if backend.read(ROOT_METADATA) is None:
            identity = {
                "format_version": FORMAT_VERSION,
                "num_samples": len(sample_ids),
                "fingerprint": fingerprint,
                "data": data,
            }
            _refuse_foreign_folder(backend)
            _claim_place(backend, {**identity, "rows": sha256(sample_ids.astype("<u8").tobytes())})
            _write_samples(backend, sample_ids, content_ids, labels)
            backend.write(f"{GENERATIONS}/zarr.json", encode_group({}))
            # Last, and for one of several creators only: from here on this is a cache.
            backend.create(ROOT_METADATA, encode_group({"scae": identity}))
        store = cls.open(url, "r+", fsync=fsync)
        store._check_identity(len(sample_ids), fingerprint)
        return store

    def sample_ids(self) -> NDArray[np.uint64]:
        """Return the id of each row's sample, (N,) uint64, in the cache's row order."""
        spec = _sample_spec("sample_id", self.num_samples)
        parts = [
            decode_object(spec, number, require(self._backend, spec.object_key(number)))
            for number in range(spec.num_objects)
        ]
        ids: NDArray[np.uint64] = np.concatenate(parts)
        return ids

    def generations(self) -> tuple[int, ...]:
        """Return the numbers of the published generations, oldest first."""
        listed = (record_number(info.key) for info in self._backend.list(PUBLISHED))
        return tuple(sorted(number for number in listed if number is not None))

    def generation(self, number: int) -> Generation:
        """Open a published generation.

        Raises:
            CacheNotFoundError: If that number is not published.
            DamagedCacheError: If its pointer or manifest has changed.
        """
        key = published_key(number)
        data = self._backend.read(key)
        if data is None:
            have = ", ".join(map(str, self.generations())) or "none"
            raise CacheNotFoundError(
                f"no generation {number} in cache {self.url}, published are: {have}"
            )
        pointer = decode_record(data, f"{self.url}/{key}")
        manifest = read_manifest(self._backend, number, pointer["manifest_sha256"])
        if manifest.digest != pointer["digest"]:
            raise DamagedCacheError(f"{self.url}/{key} does not belong to its manifest")
        return Generation(self._backend, manifest)

    def latest(self) -> Generation:
        """Open the newest published generation.

        Raises:
            CacheNotFoundError: If nothing is published yet.
        """
        numbers = self.generations()
        if not numbers:
            raise CacheNotFoundError(
                f"cache {self.url} has no published generation: run 'scae refresh'"
            )
        return self.generation(numbers[-1])

    def begin(self, plan: GenerationPlan) -> GenerationWriter:
        """Claim a number for a plan, or take up the unfinished generation of that plan.

        Raises:
            StoreError: If the store was opened read-only.
            CacheMismatchError: If the plan is for other data.
        """
        self._check_writable()
        self._check_identity(plan.num_samples, plan.provenance.fingerprint)
        return claim(self._backend, plan)

    def publish(
        self, writer: GenerationWriter, class_neighbours: NDArray[np.int32] | None = None
    ) -> Generation:
        """Make a finished generation visible in one atomic step.

        Args:
            writer: From `begin`; every block must have a valid receipt.
            class_neighbours: (K, 5) int32, nearest classes first, -1 for none; None: no neighbours.

        Raises:
            StoreError: If blocks are missing.
        """
        self._check_writable()
        if class_neighbours is None:
            class_neighbours = np.full((1, NUM_NEIGHBOURS), -1, np.int32)
        metadata = encode_group({"scae": writer.plan.as_dict()})
        manifest = publish_generation(writer, class_neighbours, metadata)
        return Generation(self._backend, manifest)

    def _check_writable(self) -> None:
        if not self._writable:
            raise StoreError(f"cache {self.url} was opened to read: open it with mode='r+'")

    def _check_identity(self, num_samples: int, fingerprint: str) -> None:
        if (self.num_samples, self.fingerprint) != (num_samples, fingerprint):
            raise CacheMismatchError(
                f"cache {self.url} was made for {self.data} with {self.num_samples} samples and "
                f"fingerprint {self.fingerprint[:12]}, the data at hand has {num_samples} and "
                f"{fingerprint[:12]}: "
                "use another --cache, or the data set this cache was made for"
            )


def _identity(data: bytes, url: str) -> dict[str, Any]:
    try:
        identity = json.loads(data)["attributes"]["scae"]
    except (ValueError, KeyError, TypeError) as error:
        raise CacheFormatError(
            f"{url} is not a saliency cache: its zarr.json has no attribute 'scae'"
        ) from error
    check_version(identity.get("format_version"), url)
    return dict(identity)


def _refuse_foreign_folder(backend: Backend) -> None:
    ours = (f"{SAMPLES}/", f"{GENERATIONS}/", "_scae/")
    foreign = [info.key for info in backend.list("") if not info.key.startswith(ours)]
    if foreign:
        raise StoreError(
            f"{backend.url} is neither empty nor a cache, it holds {foreign[0]}: "
            "choose another --cache"
        )


def _claim_place(backend: Backend, claimed: dict[str, Any]) -> None:
    if backend.create(IDENTITY, encode_record(claimed)):
        return
    data = require(backend, IDENTITY)
    if decode_record(data, f"{backend.url}/{IDENTITY}") != claimed:
        raise PublishConflictError(
            f"another job is making cache {backend.url} for other data or another row order, or "
            "died doing so: wait for it, or remove the folder"
        )


def _write_samples(
    backend: Backend,
    sample_ids: NDArray[np.uint64],
    content_ids: NDArray[np.uint64],
    labels: NDArray[np.int64],
) -> None:
    columns: dict[str, NDArray[Any]] = {
        "sample_id": sample_ids,
        "content_id": content_ids,
        "label": labels.astype(np.int32),
    }
    backend.write(f"{SAMPLES}/zarr.json", encode_group({}))
    for name, values in columns.items():
        spec = _sample_spec(name, len(values))
        backend.write(spec.metadata_key, encode_metadata(spec))
        for number in range(spec.num_objects):
            rows = values[number * spec.object_rows : (number + 1) * spec.object_rows]
            backend.write(spec.object_key(number), encode_object(spec, number, rows))


def _sample_spec(name: str, num_samples: int) -> ArraySpec:
    dtype, long_name = _SAMPLE_COLUMNS[name]
    return column_spec(f"{SAMPLES}/{name}", num_samples, dtype, long_name)
