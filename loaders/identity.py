"""What tells samples apart: 64-bit ids of name and content, and a compact table of paths."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from loaders.shared_array import SharedArrays

__all__ = ["PathTable", "content_id", "fingerprint", "ids_array", "sample_id"]


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


def fingerprint(
    class_names: Sequence[str], sample_ids: NDArray[np.uint64], content_ids: NDArray[np.uint64]
) -> str:
    """Return the hex SHA-256 of the class names and of all samples, whatever their order.

    Args:
        class_names: Name of each of the K classes.
        sample_ids: (N,), each one different.
        content_ids: (N,).
    """
    digest = hashlib.sha256(b"scae data 1\0")
    for class_name in class_names:
        encoded = class_name.encode("utf-8", "surrogateescape")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    order = np.argsort(sample_ids)  # ids differ, so this is one definite order
    pairs_N2 = np.stack([sample_ids[order], content_ids[order]], axis=1)
    digest.update(b"\0" + pairs_N2.astype("<u8").tobytes())
    return digest.hexdigest()


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
        lengths = np.fromiter(map(len, paths), np.int64, len(paths))
        return cls.of_lengths(np.frombuffer(b"".join(paths), np.uint8), lengths)

    @classmethod
    def of_lengths(cls, buffer: NDArray[np.uint8], lengths: NDArray[np.integer[Any]]) -> Self:
        """Return the table of paths that lie behind each other in `buffer`, (N,) bytes long."""
        ends = np.cumsum(lengths, dtype=np.int64)
        return cls(buffer, ends - lengths, ends)

    @classmethod
    def joined(cls, tables: Sequence["PathTable"]) -> Self:
        """Return the table of the paths of several tables; none of them may be a `subset`."""
        return cls.of_lengths(
            np.concatenate([table.buffer for table in tables]),
            np.concatenate([table.lengths for table in tables]),
        )

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Bytes of each path, (N,) int64."""
        return self.ends - self.starts

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> bytes:
        return self.buffer[self.starts[row] : self.ends[row]].tobytes()

    def subset(self, rows: NDArray[np.int64]) -> Self:
        """Return the table of the paths at `rows`; the byte buffer is shared."""
        return type(self)(self.buffer, self.starts[rows], self.ends[rows])

    def part(self, rows: slice) -> Self:
        """Return the table of paths that follow one another, with their bytes alone.

        Args:
            rows: Which; the table must not be a `subset`.
        """
        lengths = self.ends[rows] - self.starts[rows]
        first = int(self.starts[rows][0]) if len(lengths) else 0
        return self.of_lengths(self.buffer[first : first + int(lengths.sum())], lengths)
