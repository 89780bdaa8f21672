"""The few operations on objects that the store's promises rest on, whatever holds the bytes.

An object is written whole or not at all, and `create` succeeds for exactly one of several writers.
Everything else (generations, publication, leases) is built from these.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from cache_store.errors import CacheNotFoundError, StoreError


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a listing says of one object."""

    key: str
    """Path below the cache's root, parts joined by '/'."""
    length: int
    """Size in bytes."""


class Backend(ABC):
    """Objects by key under one root."""

    url: str
    """The root as the user gave it, good for opening it again in another process."""

    @abstractmethod
    def read(self, key: str) -> bytes | None:
        """Return the object's bytes, None if there is no such object."""

    @abstractmethod
    def length(self, key: str) -> int | None:
        """Return the object's size in bytes, None if there is no such object."""

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Write the object whole, replacing an earlier one; durable when this returns."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Write the object only if there is none yet; of several writers exactly one gets True."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""

    @abstractmethod
    def list(self, prefix: str) -> list[ObjectInfo]:
        """List all objects below `prefix` (a folder's key, '' for the root), sorted by key."""


def open_backend(url: str | Path, *, fsync: bool = True) -> Backend:
    """Open the place that a path or URL names; nothing is created or read.

    Args:
        url: A local folder, `file://` URL or `memory://NAME` (this process only, for tests).
        fsync: Whether local writes wait until the disk has them.

    Raises:
        StoreError: If the URL's scheme is not supported.
    """
    from cache_store.local_backend import LocalBackend
    from cache_store.memory_backend import MemoryBackend

    text = str(url)
    if text.startswith("memory://"):
        return MemoryBackend(text)
    if text.startswith("file://"):
        return LocalBackend(Path(text.removeprefix("file://")), fsync=fsync)
    if "://" in text:
        scheme = text.split("://", 1)[0]
        raise StoreError(
            f"cache URL must be a local path, file:// or memory://, got {scheme}:// in {text}"
        )
    return LocalBackend(Path(text), fsync=fsync)


def require(backend: Backend, key: str) -> bytes:
    """Read an object that must be there.

    Raises:
        CacheNotFoundError: If it is not.
    """
    data = backend.read(key)
    if data is None:
        raise CacheNotFoundError(f"no object {key} in {backend.url}")
    return data
