"""The few operations on objects that the store's promises rest on, whatever holds the bytes.

An object is written whole or not at all, and `create` succeeds for exactly one of several writers.
Everything else (generations, publication, leases) is built from these.
"""

import builtins
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from cache_store.errors import CacheNotFoundError, StoreError

OBJECT_SCHEMES = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "az": "az",
    "azure": "az",
    "adl": "az",
    "abfs": "az",
    "abfss": "az",
}
"""URL scheme -> kind of object store."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a listing says of one object."""

    key: str
    """Path below the cache's root, parts joined by '/'."""
    length: int
    """Size in bytes."""
    modified: float
    """When it was written, in seconds since the epoch by the store's own clock."""


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

    @abstractmethod
    def now(self) -> float:
        """Return the store's own time in seconds since the epoch, the clock of `modified`.

        Asked by writing a small object, so that a wrong clock of this machine does not matter.

        Raises:
            StoreError: If the store can't be written.
        """

    def leftovers(self) -> builtins.list[ObjectInfo]:
        """List what writers that were killed left behind and `list` passes over, for collection."""
        return []


def is_object_url(url: str | Path) -> bool:
    """Tell whether a place is in an object store, which a forked process can't use.

    Raises:
        StoreError: If it is such a URL made a Path.
    """
    scheme = str(url).split(":/", 1)[0]
    if scheme in OBJECT_SCHEMES and isinstance(url, Path):
        raise StoreError(f"cache {url} is a URL made a Path, which drops a slash: pass a string")
    return scheme in OBJECT_SCHEMES


def open_backend(url: str | Path, *, fsync: bool = True) -> Backend:
    """Open the place that a path or URL names; nothing is created or read.

    Args:
        url: A local folder, `file://` URL, `memory://NAME` (this process only, for tests), or a
            bucket and prefix in an object store: `s3://`, `gs://`, `az://` or `abfs://`.
        fsync: Whether local writes wait until the disk has them.

    Raises:
        StoreError: If the URL's scheme is not supported, its package is not installed, or the
            environment does not say how to reach it.
    """
    from cache_store.local_backend import LocalBackend
    from cache_store.memory_backend import MemoryBackend
    from cache_store.object_backend import ObjectBackend

    text = str(url)
    scheme = text.split("://", 1)[0] if "://" in text else "file"
    if is_object_url(url):
        return ObjectBackend(text)
    if scheme == "memory":
        return MemoryBackend(text)
    if scheme != "file":
        # Not the whole URL: it can hold a password.
        raise StoreError(
            "cache URL must be a local path, file://, memory://, s3://, gs://, az:// or abfs://, "
            f"got {scheme}://"
        )
    return LocalBackend(Path(text.removeprefix("file://")), fsync=fsync)


def require(backend: Backend, key: str) -> bytes:
    """Read an object that must be there.

    Raises:
        CacheNotFoundError: If it is not.
    """
    data = backend.read(key)
    if data is None:
        raise CacheNotFoundError(f"no object {key} in {backend.url}")
    return data
