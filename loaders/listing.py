"""Image files as a walk through folders has found them, and whether they are still what is there.

Legend: N files, P places whose times were noted.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from loaders.identity import PathTable, content_id, ids_array, sample_id

__all__ = ["UNSETTLED", "Listing", "Times", "change_times", "size_id"]

Times = tuple[int, int]
"""When a place was last changed: (st_mtime_ns, st_ctime_ns)."""

SETTLED_NS = 2_000_000_000
"""Age in nanoseconds from which a change is told from the next one, even where a file system's
clock is coarse (FAT: 2 s)."""

UNSETTLED: Times = (-1, -1)
"""Noted for a place that was changed too recently: it may change again and show the same times. No
place has these times themselves, so it counts as changed."""


def change_times(status: os.stat_result) -> Times:
    """Return the times to note for a place, `UNSETTLED` if they do not tell its next change.

    Args:
        status: Of the place, taken before it was listed.
    """
    times = (status.st_mtime_ns, status.st_ctime_ns)
    settled = time.time_ns() - max(times) >= SETTLED_NS
    return times if settled and min(times) > 0 else UNSETTLED


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Listing:
    """Image files, and the folders and tables whose times tell whether the listing still holds."""

    paths: PathTable
    """N relative POSIX paths."""
    labels: NDArray[np.int64]
    """(N,) class numbers."""
    sample_ids: NDArray[np.uint64]
    """(N,), see `sample_id`."""
    content_ids: NDArray[np.uint64]
    """(N,), of the sizes in bytes, see `size_id`."""
    places: PathTable
    """P relative paths, b"" for the base itself."""
    times: NDArray[np.int64]
    """(P, 2) as `change_times` gives them. A folder's show each file that is added, removed or
    renamed, but no file that is written anew; that is noticed where it is read."""

    @classmethod
    def of(
        cls, files: Sequence[tuple[bytes, int, int]], places: Sequence[tuple[bytes, Times]]
    ) -> Self:
        """Return the listing of files and places.

        Args:
            files: (relative path, label, size in bytes) of each file.
            places: (relative path, times) of each place.
        """
        return cls(
            paths=PathTable.of([path for path, _, _ in files]),
            labels=np.array([label for _, label, _ in files], np.int64),
            sample_ids=ids_array(sample_id(path, label) for path, label, _ in files),
            content_ids=ids_array(size_id(size) for _, _, size in files),
            places=PathTable.of([path for path, _ in places]),
            times=np.array([times for _, times in places], np.int64).reshape(-1, 2),
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the listing of all parts, of which there is at least one."""
        return cls(
            paths=PathTable.joined([part.paths for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            sample_ids=np.concatenate([part.sample_ids for part in parts]),
            content_ids=np.concatenate([part.content_ids for part in parts]),
            places=PathTable.joined([part.places for part in parts]),
            times=np.concatenate([part.times for part in parts]),
        )

    def part(self, files: slice, places: slice) -> Self:
        """Return the listing of some files that follow one another, and of some places."""
        return type(self)(
            paths=self.paths.part(files),
            labels=self.labels[files],
            sample_ids=self.sample_ids[files],
            content_ids=self.content_ids[files],
            places=self.places.part(places),
            times=self.times[places],
        )

    def holds(self, base: Path) -> bool:
        """Tell whether no place has changed since: no file is added, removed or renamed."""
        root = os.fsencode(base)
        for row, noted in enumerate(self.times.tolist()):
            try:
                status = os.stat(os.path.join(root, self.places[row]))  # noqa: PTH116, PTH118 (bytes)
            except OSError:
                return False
            if noted != [status.st_mtime_ns, status.st_ctime_ns]:
                return False
        return True


def size_id(size: int) -> bytes:
    """Return the content id of a file that is known by its size in bytes."""
    return content_id(str(size).encode())
