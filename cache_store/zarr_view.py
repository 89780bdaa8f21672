"""A backend seen as a read-only Zarr store in which a missing or changed object is an error.

Plain Zarr reads a missing chunk as fill values, here zeros: a map that says "nothing is salient".
"""

import threading
from collections.abc import AsyncIterator, Iterable, Mapping

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype

from cache_store.backend import Backend
from cache_store.errors import DamagedCacheError
from cache_store.records import sha256

Checksums = Mapping[str, tuple[int, str]]
"""Key -> (length in bytes, hex SHA-256), as a manifest lists them."""


def check_object(key: str, data: bytes | None, checksums: Checksums, place: str) -> bytes:
    """Return an object's bytes if they are what the manifest lists.

    Raises:
        DamagedCacheError: If the object is missing, short or changed.
    """
    length, digest = checksums[key]
    cure = f"run 'scae cache verify {place}'"
    if data is None:
        raise DamagedCacheError(f"object {key} of {place} is missing: {cure}")
    if len(data) != length:
        raise DamagedCacheError(
            f"object {key} of {place} has {len(data)} bytes, the manifest lists {length}: {cure}"
        )
    if sha256(data) != digest:
        raise DamagedCacheError(f"object {key} of {place} has changed since publication: {cure}")
    return data


class ZarrView(Store):
    """Read-only Zarr store over a backend; every object is checked against the manifest.

    Args:
        backend: Where the objects are.
        checksums: The manifest's objects; anything not listed there does not exist here.
    """

    def __init__(self, backend: Backend, checksums: Checksums) -> None:
        super().__init__(read_only=True)
        self._backend = backend
        self._checksums = checksums
        # A shard is read as index, then chunks: keep the last object so that it is hashed once.
        self._last: tuple[str, bytes] | None = None
        self._lock = threading.Lock()

    def _object(self, key: str) -> bytes:
        with self._lock:
            if self._last is not None and self._last[0] == key:
                return self._last[1]
        data = check_object(key, self._backend.read(key), self._checksums, self._backend.url)
        with self._lock:
            self._last = (key, data)
        return data

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return an object or a part of it, None if the manifest does not list it.

        Raises:
            DamagedCacheError: If the object is listed but missing or changed.
        """
        if key not in self._checksums:
            if "/c/" in key:
                raise DamagedCacheError(
                    f"object {key} is not in the manifest of {self._backend.url}: "
                    "the array's metadata and the manifest do not belong together"
                )
            return None
        data = memoryview(self._object(key))
        return prototype.buffer.from_bytes(bytes(_part(data, byte_range)))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return several parts."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """Tell whether the manifest lists the object."""
        return key in self._checksums

    async def list(self) -> AsyncIterator[str]:
        """List all keys."""
        for key in sorted(self._checksums):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """List the keys that begin with `prefix`."""
        for key in sorted(self._checksums):
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """List the names directly below a folder."""
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        names = {
            key[len(start) :].split("/", 1)[0] for key in self._checksums if key.startswith(start)
        }
        for name in sorted(names):
            yield name

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse: what is published never changes."""
        self._check_writable()

    async def delete(self, key: str) -> None:
        """Refuse: what is published never changes."""
        self._check_writable()

    @property
    def supports_writes(self) -> bool:
        """Never."""
        return False

    @property
    def supports_deletes(self) -> bool:
        """Never."""
        return False

    @property
    def supports_listing(self) -> bool:
        """Always."""
        return True

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ZarrView)
            and self._backend.url == other._backend.url
            and self._checksums == other._checksums
        )

    __hash__ = None  # type: ignore[assignment]


def _part(data: memoryview, byte_range: ByteRequest | None) -> memoryview:
    match byte_range:
        case None:
            return data
        case RangeByteRequest(start=start, end=end):
            return data[start:end]
        case OffsetByteRequest(offset=offset):
            return data[offset:]
        case SuffixByteRequest(suffix=suffix):
            return data[max(0, len(data) - suffix) :]
