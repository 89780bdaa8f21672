"""The saliency cache of one data set: create, open, write generations, read them.

Legend: N samples, K classes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cache_store.arrays import NUM_NEIGHBOURS, encode_group
from cache_store.backend import Backend, open_backend
from cache_store.collect import GcReport, collect, is_tombstone
from cache_store.errors import (
    CacheFormatError,
    CacheNotFoundError,
    DamagedCacheError,
    PublishConflictError,
    StoreError,
)
from cache_store.generation import Generation
from cache_store.identity import (
    Identity,
    check_claim,
    claim_place,
)
from cache_store.layout import (
    GENERATIONS,
    PUBLISHED,
    ROOT_METADATA,
    manifest_key,
    published_key,
    record_number,
)
from cache_store.leases import LEASE_SECONDS, Lease
from cache_store.manifest import read_manifest
from cache_store.publish import publish_generation
from cache_store.records import decode_record, require_fields, sha256
from cache_store.samples import read_samples, write_samples
from cache_store.writer import GenerationPlan, GenerationWriter, claim, unfinished_plans


class SaliencyStore:
    """The cache of one data set. Open it with `open` or `create`, not directly."""

    def __init__(self, backend: Backend, identity: Identity, *, writable: bool) -> None:
        self._backend = backend
        self._writable = writable
        self.identity = identity
        self.num_samples = identity.num_samples
        self.fingerprint = identity.fingerprint
        self.data = identity.data

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
        identity = Identity.decode(data, backend.url)
        check_claim(backend, identity)
        return cls(backend, identity, writable=mode == "r+")

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
        deep: bool | None = None,
        fsync: bool = True,
    ) -> Self:
        """Make a cache for a data set, or open the one that is there for the same data.

        Args:
            url: Local folder, `file://` URL or `memory://NAME`.
            sample_ids: (N,) uint64, row i is sample i of the training set as trained.
            content_ids: (N,) uint64 hashes of the images; their low 32 bits are stored.
            labels: (N,) int64 class of each sample.
            fingerprint: Hex SHA-256 over the data set.
            data: Name of the data set, for people.
            deep: Whether `content_ids` hash the images' bytes; None where nobody knows.
            fsync: Whether writes wait until the disk has them.

        Raises:
            CacheMismatchError: If there is a cache for other data.
        """
        backend = open_backend(url, fsync=fsync)
        if len(sample_ids) == 0:
            raise StoreError(f"can't make cache {backend.url}: the data set has no samples")
        identity = Identity(
            num_samples=len(sample_ids), fingerprint=fingerprint, data=data, deep=deep
        )
        if backend.read(ROOT_METADATA) is None:
            claim_place(backend, identity, sample_ids)
            columns: dict[str, NDArray[Any]] = {
                "sample_id": sample_ids,
                "content_id": content_ids.astype(np.uint32),
                "label": labels.astype(np.int32),
            }
            write_samples(backend, columns)
            backend.write(f"{GENERATIONS}/zarr.json", encode_group({}))
            # Last, and for one of several creators only: from here on this is a cache.
            backend.create(ROOT_METADATA, encode_group({"scae": identity.as_dict()}))
        store = cls.open(url, "r+", fsync=fsync)
        store.identity.require(identity, store.url)
        return store

    def sample_ids(self) -> NDArray[np.uint64]:
        """Return the id of each row's sample, (N,) uint64, in the cache's row order."""
        changed = DamagedCacheError(
            f"sample ids of cache {self.url} have changed: run 'scae cache verify {self.url}'"
        )
        try:
            ids: NDArray[np.uint64] = read_samples(self._backend, "sample_id", self.num_samples)
        except CacheFormatError as error:
            raise changed from error
        if sha256(ids.astype("<u8").tobytes()) != check_claim(self._backend, self.identity):
            raise changed
        return ids

    def generations(self) -> tuple[int, ...]:
        """Return the numbers of the published generations, oldest first."""
        listed = (record_number(info.key) for info in self._backend.list(PUBLISHED))
        return tuple(sorted(number for number in listed if number is not None))

    def generation(self, number: int) -> Generation:
        """Open a published generation.

        Raises:
            CacheNotFoundError: If that number is not published, or not any more.
            DamagedCacheError: If its pointer or manifest is damaged.
        """
        key = published_key(number)
        data = self._backend.read(key)
        if data is None:
            raise self._not_found(number)
        pointer = decode_record(data, f"{self.url}/{key}")
        names = {"generation", "digest", "manifest_sha256"}
        require_fields(pointer, number, names, f"{self.url}/{key}")
        try:
            manifest = read_manifest(self._backend, number, pointer["manifest_sha256"])
        except (CacheNotFoundError, DamagedCacheError) as error:
            # Collected between the two looks? Then it is gone, not damaged.
            if self._backend.length(key) is None or self._is_buried(number):
                raise self._not_found(number) from error
            if isinstance(error, DamagedCacheError):
                raise
            raise DamagedCacheError(
                f"generation {number} of {self.url} is published, but has no manifest: "
                f"run 'scae cache verify {self.url}'"
            ) from error
        if manifest.digest != pointer["digest"]:
            raise DamagedCacheError(f"{self.url}/{key} does not belong to its manifest")
        return Generation(self._backend, manifest)

    def latest(self) -> Generation:
        """Open the newest published generation, also while others are published and collected.

        Raises:
            CacheNotFoundError: If nothing is published yet.
        """
        seen: set[int] = set()
        while numbers := [number for number in self.generations() if number not in seen]:
            # Collected since the listing: a newer one is there now. What is listed once more is
            # the pointer of a writer that was too late.
            try:
                return self.generation(numbers[-1])
            except CacheNotFoundError:
                seen.add(numbers[-1])
        raise CacheNotFoundError(
            f"cache {self.url} has no published generation: run 'scae refresh'"
        )

    def lease(self, generation: int, *, owner: str, seconds: float = LEASE_SECONDS) -> Lease:
        """Keep a generation from being collected while it is read; best as a context manager.

        A store that can't be written is read without a lease; a warning says so once.

        Args:
            generation: Number of a published generation.
            owner: Who reads, for people, such as a host and a job's id.
            seconds: How long the lease holds without being renewed, by the store's clock.

        Raises:
            CacheNotFoundError: If it is not published, or just being collected.
        """
        return Lease(self._backend, generation, owner=owner, seconds=seconds)

    def gc(
        self, *, keep: int = 2, dry_run: bool = False, grace_seconds: float = 3600.0
    ) -> GcReport:
        """Remove old generations and leftovers; never the latest, nor what is leased or young.

        Args:
            keep: Newest generations that stay, at least 1.
            dry_run: Only report what would be removed.
            grace_seconds: What was the latest, or was being written, less than this long ago by
                the store's own clock stays. 0 only where nobody reads or writes.

        Raises:
            StoreError: If the store was opened read-only, or an argument is out of range.
        """
        self._check_writable()
        return collect(self._backend, keep=keep, dry_run=dry_run, grace_seconds=grace_seconds)

    def begin(self, plan: GenerationPlan, *, anew: bool = False) -> GenerationWriter:
        """Claim a number for a plan, or take up the unfinished generation of that plan.

        Args:
            plan: What will be made.
            anew: Make it also if the latest generation is of this very plan; False joins that
                one, which has nothing pending.

        Raises:
            StoreError: If the store was opened read-only.
            CacheMismatchError: If the plan is for other data.
        """
        self._check_writable()
        made_from = plan.provenance
        identity = Identity(
            num_samples=plan.num_samples,
            fingerprint=made_from.fingerprint,
            data=made_from.data,
            deep=self.identity.deep,
        )
        self.identity.require(identity, self.url)
        return claim(self._backend, plan, join_latest=not anew)

    def unfinished(self) -> dict[int, GenerationPlan]:
        """Return the plan of each generation that is being made, or was begun and left."""
        return unfinished_plans(self._backend)

    def publish(
        self,
        writer: GenerationWriter,
        class_neighbours: NDArray[np.int32] | None = None,
        notes: Mapping[str, float] | None = None,
    ) -> Generation:
        """Make a finished generation visible in one atomic step.

        Args:
            writer: From `begin`; every block must have a valid receipt.
            class_neighbours: (K, 5) int32, nearest classes first, -1 for none; None: no neighbours.
            notes: Figures to keep in the manifest, by name.

        Raises:
            StoreError: If blocks are missing.
            PublishConflictError: If another plan has this number, or it was collected meanwhile.
        """
        self._check_writable()
        if class_neighbours is None:
            class_neighbours = np.full((1, NUM_NEIGHBOURS), -1, np.int32)
        metadata = encode_group({"scae": writer.plan.as_dict()})
        try:
            manifest = publish_generation(writer, class_neighbours, metadata, notes or {})
        except DamagedCacheError as error:
            self._check_not_buried(writer.number, error)
            raise
        # A collection that took this writer, stalled for longer than its grace, for dead.
        self._check_not_buried(writer.number, None)
        return Generation(self._backend, manifest)

    def _check_not_buried(self, number: int, error: Exception | None) -> None:
        if self._is_buried(number):
            raise PublishConflictError(
                f"generation {number} of {self.url} was collected while it was being published: "
                "run the refresh again"
            ) from error

    def _is_buried(self, number: int) -> bool:
        return is_tombstone(self._backend.read(manifest_key(number)))

    def _not_found(self, number: int) -> CacheNotFoundError:
        have = ", ".join(map(str, self.generations())) or "none"
        return CacheNotFoundError(
            f"no generation {number} in cache {self.url}, published are: {have}"
        )

    def _check_writable(self) -> None:
        if not self._writable:
            raise StoreError(f"cache {self.url} was opened to read: open it with mode='r+'")
