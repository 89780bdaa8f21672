"""Objects in this process's memory, for tests."""

import threading
import time

from cache_store.backend import Backend, ObjectInfo

_ROOTS: dict[str, dict[str, tuple[bytes, float]]] = {}
_LOCK = threading.Lock()


class MemoryBackend(Backend):
    """Objects in a dict that all openers of one `memory://NAME` in this process share."""

    def __init__(self, url: str) -> None:
        self.url = url
        with _LOCK:
            self._objects = _ROOTS.setdefault(url, {})

    def read(self, key: str) -> bytes | None:
        """Return the object's bytes, None if there is no such object."""
        found = self._objects.get(key)
        return None if found is None else found[0]

    def length(self, key: str) -> int | None:
        """Return the object's size in bytes, None if there is no such object."""
        data = self.read(key)
        return None if data is None else len(data)

    def write(self, key: str, data: bytes) -> None:
        """Set the object."""
        with _LOCK:
            self._objects[key] = bytes(data), time.time()

    def create(self, key: str, data: bytes) -> bool:
        """Set the object only if there is none yet."""
        with _LOCK:
            if key in self._objects:
                return False
            self._objects[key] = bytes(data), time.time()
            return True

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""
        with _LOCK:
            self._objects.pop(key, None)

    def list(self, prefix: str) -> list[ObjectInfo]:
        """List all objects below a folder's key."""
        start = f"{prefix}/" if prefix else ""
        with _LOCK:
            items = list(self._objects.items())
        return sorted(
            (
                ObjectInfo(key, len(data), modified)
                for key, (data, modified) in items
                if key.startswith(start)
            ),
            key=lambda info: info.key,
        )

    def now(self) -> float:
        """Return this machine's time."""
        return time.time()
