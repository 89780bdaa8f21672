"""What tells samples apart: 64-bit ids of name and content, and a compact table of paths."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from loaders.shared_array import SharedArrays

__all__ = ["PathTable", "content_id", "ids_array", "sample_id"]


def sample_id(key: bytes, label: int) -> bytes:
    """Return the 8 bytes that name a sample: of its path or original index, and its label.

    Args:
        key: The relative POSIX path as the file system spells it, or the index as text.
        label: Class number.

    Returns:
        The first 8 bytes of BLAKE2b over key, NUL and label; read as a little-endian uint64.
    """
    return hashlib.blake2b(key + b"\0" + str(label).encode()).digest()[:8]


def content_id(content: bytes | memoryview) -> bytes:
    """Return 8 bytes that change when `content` does, read as a little-endian uint64."""
    return hashlib.blake2b(content, digest_size=8).digest()


def ids_array(ids: Iterable[bytes]) -> NDArray[np.uint64]:
    """Return (N,) uint64 of ids of 8 bytes each, the same numbers on every machine."""
    return np.frombuffer(b"".join(ids), "<u8").astype(np.uint64)


class PathTable(SharedArrays):
    """N relative paths as one byte buffer, since a list of str is copied page by page by workers.

    Args:
        buffer: All paths behind each other, (bytes,) uint8.
        starts: First byte of each path, (N,) int64.
        ends: Byte behind each path, (N,) int64.
    """

    def __init__(
        self, buffer: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> None:
        self.buffer = buffer
        self.starts = starts
        self.ends = ends

    @classmethod
    def of(cls, paths: Sequence[bytes]) -> Self:
        """Return the table of `paths`, POSIX paths as the file system spells them."""
        ends = np.cumsum(np.fromiter(map(len, paths), np.int64, len(paths)))
        starts = np.concatenate([np.zeros(min(1, len(paths)), np.int64), ends[:-1]])
        return cls(np.frombuffer(b"".join(paths), np.uint8), starts, ends)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> bytes:
        return self.buffer[self.starts[row] : self.ends[row]].tobytes()

    def subset(self, rows: NDArray[np.int64]) -> Self:
        """Return the table of the paths at `rows`; the byte buffer is shared."""
        return type(self)(self.buffer, self.starts[rows], self.ends[rows])
