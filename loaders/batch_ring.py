"""Memory that workers write batches into again and again, once the training loop is done with them.

A fresh piece of shared memory a batch costs more than making small images: the kernel clears every
page anew, and a descriptor travels through a socket of its own. Here all batches of a set of
workers lie in one nameless file that both sides have mapped, and only a place's number is sent.

A place is written again only when no tensor of the training loop uses it any more: the tensor's
storage owns an array, and that array's end gives the place back. Whoever keeps batches keeps their
places; where none is left, a worker takes fresh memory as before.
"""

import itertools
import math
import mmap
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import reduction
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["BatchRing", "Place", "ring_for"]

FREE, USED, LOST = 0, 1, 2
"""States of a place. Only its worker makes it used, only who has it then makes it free again; it
is lost where a process was forked that may go on reading it."""

SPARE_PLACES = 3
"""Places of a worker beyond those it prefetches into: what the training loop holds meanwhile."""

_numbers = itertools.count()
_rings: "weakref.WeakValueDictionary[int, BatchRing]" = weakref.WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class Place:
    """What travels instead of images."""

    ring: int
    """Number of the ring in the process that made it."""
    number: int
    """Which of the ring's places."""
    shape: tuple[int, ...]
    """Of the float32 tensor that begins there."""

    def received(self) -> Tensor:
        """Return the tensor, in the process that made the ring."""
        return _rings[self.ring].tensor(self.number, self.shape)


class BatchRing:
    """Places for the images of one set of workers; make it before they start, with `ring_for`.

    Args:
        num_bytes: Size of a place.
        num_workers: Workers, each of which writes into places of its own.
        per_worker: Places of each.
    """

    def __init__(self, num_bytes: int, num_workers: int, per_worker: int) -> None:
        self._number = next(_numbers)
        self._per_worker, self._num_workers = per_worker, num_workers
        self._room = -(-num_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        num_places = num_workers * per_worker
        self._start = -(-num_places // mmap.PAGESIZE) * mmap.PAGESIZE
        # Not a name in any file system; pages exist from when they are written to.
        descriptor = os.memfd_create("scae-batches")
        os.ftruncate(descriptor, self._start + num_places * self._room)
        self._map(descriptor)
        self._starting = False
        _rings[self._number] = self

    def _map(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        self._memory = mmap.mmap(descriptor, 0)
        places = self._num_workers * self._per_worker
        self._states = np.frombuffer(self._memory, np.uint8, places)
        self._base = np.frombuffer(self._memory, np.uint8).ctypes.data + self._start
        self._tickets: dict[int, object] = {}  # of the places that this process has

    def __getstate__(self) -> dict[str, Any]:
        state = {
            key: value
            for key, value in self.__dict__.items()
            if key not in ("_memory", "_states", "_base", "_tickets")
        }
        return {**state, "_descriptor": reduction.DupFd(self._descriptor)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map(state["_descriptor"].detach())

    @contextmanager
    def workers_starting(self) -> Iterator[None]:
        """Say that processes forked now are this ring's workers, which read no batch."""
        self._starting = True
        try:
            yield
        finally:
            self._starting = False

    def lend(self, worker: int, shape: tuple[int, ...]) -> Tensor | None:
        """Return uninitialised float32 memory in a free place of a worker, None where none is."""
        if not 0 < math.prod(shape) * torch.float32.itemsize <= self._room:
            return None
        first = worker * self._per_worker
        free = np.flatnonzero(self._states[first : first + self._per_worker] == FREE)
        if not len(free):
            return None
        place = first + int(free[0])
        self._states[place] = USED
        return self.tensor(place, shape)

    def hand_over(self, tensor: Tensor) -> Place | None:
        """Return what to send for a tensor that was lent here; None for any other one.

        The place then belongs to who receives it.
        """
        place, inside = divmod(tensor.data_ptr() - self._base, self._room)
        if inside or tensor.dtype != torch.float32 or not tensor.is_contiguous():
            return None
        if self._tickets.pop(place, None) is None:
            return None
        return Place(self._number, place, tuple(tensor.shape))

    def tensor(self, place: int, shape: tuple[int, ...]) -> Tensor:
        """Return the tensor at a place, which is free again at the end of the tensor's storage."""
        array = np.ndarray(shape, np.float32, self._memory, self._start + place * self._room)
        # A worker may write to the place again while its last tensor there is still being dropped.
        ticket = self._tickets[place] = object()
        end = weakref.finalize(array, self._give_back, place, ticket, os.getpid())
        end.atexit = False
        return torch.from_numpy(array)

    def _give_back(self, place: int, ticket: object, process: int) -> None:
        # A forked child drops copies of what its parent still has.
        if process == os.getpid() and self._tickets.get(place) is ticket:
            del self._tickets[place]
            self._states[place] = FREE

    def after_fork(self) -> None:
        """Give up the places in use: the child may read its copies of these tensors at any time."""
        if self._starting:
            return
        for place in list(self._tickets):
            self._states[place] = LOST
        self._tickets.clear()


def ring_for(num_bytes: int, num_workers: int, prefetch_factor: int) -> BatchRing | None:
    """Return a ring for workers that make batches of `num_bytes`; None where Linux is missing."""
    if not hasattr(os, "memfd_create"):
        return None
    return BatchRing(num_bytes, num_workers, prefetch_factor + SPARE_PLACES)


def _after_fork() -> None:
    for ring in list(_rings.values()):
        ring.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=_after_fork)
