"""Arrays that started worker processes read from one file instead of one copy each.

A DataLoader with `spawn` or `forkserver` pickles the data set once per worker. Images held in
memory would then exist once per worker too. Here a large array is written once to a file that
has no name any more, and the workers map it read-only through an inherited descriptor: the page
cache holds one copy, and nothing is left behind, however the processes end.
"""

import os
import tempfile
from multiprocessing import reduction
from multiprocessing.context import get_spawning_popen
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["SharedArrays"]

LEND_AT_BYTES = 1 << 20
"""Arrays from this size on are mapped from a file; smaller ones are pickled by value."""


class _LentArray:
    """Stands in a pickle for an array whose bytes are in an inherited file descriptor."""

    def __init__(self, file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self._descriptor = reduction.DupFd(file.fileno())
        self._dtype = dtype
        self._shape = shape

    def map(self) -> NDArray[Any]:
        """Return the array, mapped read-only."""
        with os.fdopen(self._descriptor.detach(), "rb") as file:
            mapped = np.memmap(file, self._dtype, mode="r", shape=self._shape)
        return mapped.view(np.ndarray)


class SharedArrays:
    """Base of objects whose large NumPy attributes are lent, not copied, to started processes.

    Every other kind of pickling (copying, saving, sending to another machine) is by value.
    """

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        files: dict[str, BinaryIO] = state.pop("_lent_files", {})
        # DupFd exists on POSIX only; elsewhere everything is pickled by value.
        if get_spawning_popen() is None or not hasattr(reduction, "DupFd"):
            return state
        lent = {key: _lend(key, value, files) for key, value in state.items()}
        self.__dict__["_lent_files"] = files
        return lent

    def __setstate__(self, state: dict[str, Any]) -> None:
        for key, value in state.items():
            self.__dict__[key] = value.map() if isinstance(value, _LentArray) else value


def _lend(key: str, value: object, files: dict[str, BinaryIO]) -> object:
    """Return what the pickle holds for attribute `key`; remember its file for the next worker."""
    if not isinstance(value, np.ndarray) or value.nbytes < LEND_AT_BYTES:
        return value
    array = np.ascontiguousarray(value)
    try:
        if key not in files:
            # Unbuffered: the bytes must be in the file before the other process maps it.
            file = tempfile.TemporaryFile(prefix="scae-", buffering=0)
            array.tofile(file)
            files[key] = file
    except OSError:  # the temporary folder is full: a copy per worker still works
        return array
    return _LentArray(files[key], array.dtype, array.shape)
