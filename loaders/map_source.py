"""The maps of a data set's samples, by generation, opened where and when they are first needed.

Legend: B samples of a batch, N samples of the data set, h, w height and width of a map.
"""

import logging
import os
import socket
import time
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache_store.errors import CacheNotFoundError, ScaeError
from cache_store.generation import Generation
from cache_store.identity import require_same_depth
from cache_store.leases import Lease
from cache_store.resident import ResidentMaps
from cache_store.rows import match_rows
from cache_store.store import SaliencyStore
from loaders.batches import NO_GENERATION
from loaders.gains import exact_gains
from loaders.image_data import ImageData

LEASE_SECONDS = 600.0
"""How long a job's lease holds: through a validation, during which no batch renews it."""
RENEW_SECONDS = 60.0
"""Shortest time between two renewals."""

logger = logging.getLogger("scae")


@dataclass(frozen=True, slots=True)
class MapBatch:
    """The maps of a batch, ready for `sample_centres`."""

    maps: NDArray[np.uint8]
    """(B, h, w) uint8."""
    gains: NDArray[np.float32]
    """(B,) float32, 0 for a flat or missing map."""
    floors: NDArray[np.float32]
    """(B,) float32."""


class MapSource:
    """Reads maps of a data set's samples from a cache.

    Opening happens in the process that reads (a worker after fork or spawn), so nothing that is
    unsafe to fork is inherited. Only the generation in use stays open.

    Args:
        data: The data set; its samples find their rows by id, whatever the cache's order.
        cache: Path or URL of the cache; None for no maps at all.
        size: Side in pixels of the whole image at the network's input.
        accept_stale: Use the maps of images that have changed since, and say so in the log.
        lease: Whether this process keeps the generation in use from being collected.
    """

    def __init__(
        self,
        data: ImageData,
        cache: str | Path | None,
        size: int,
        *,
        accept_stale: bool = False,
        lease: bool = False,
    ) -> None:
        self._data = data
        self._cache = None if cache is None else str(cache)
        self._size = size
        self._accept_stale = accept_stale
        self._leasing = lease
        self._lease: Lease | None = None
        self._renewed = 0.0
        self._opened: tuple[int, int, ResidentMaps, Generation] | None = None
        self._matched = False
        self._rows_N: NDArray[np.int64] | None = None  # None: the cache's own order

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_opened": None, "_leasing": False, "_lease": None}

    def latest(self) -> int:
        """Return the number of the newest generation, 0 without a cache.

        Raises:
            CacheNotFoundError: If there is no cache where one was named, or nothing in it yet.
        """
        return (
            NO_GENERATION
            if self._cache is None
            else SaliencyStore.open(self._cache).latest().number
        )

    def check(self, generation: int) -> None:
        """Open a generation and find every sample's row, so that a wrong cache is refused now.

        Raises:
            CacheMismatchError: If the cache was made for other data.
            CacheNotFoundError: If there is no such generation.
        """
        if self._leasing:
            self._hold(generation)
        if generation != NO_GENERATION:
            self._open(generation)

    def check_latest(self) -> int:
        """Do the same with the newest generation and return its number, 0 without a cache."""
        while True:
            number = self.latest()
            try:
                self.check(number)
            except CacheNotFoundError:
                if self.latest() == number:
                    raise
                continue  # collected before it was leased: newer ones have been published
            return number

    def fetch(self, generation: int, indices_B: NDArray[np.int64]) -> MapBatch:
        """Return the maps of some samples; flat ones if `generation` is 0."""
        if generation == NO_GENERATION:
            zeros_B = np.zeros(len(indices_B), np.float32)
            return MapBatch(np.zeros((len(indices_B), 1, 1), np.uint8), zeros_B, zeros_B)
        resident, _ = self._open(generation)
        rows_B = indices_B if self._rows_N is None else self._rows_N[indices_B]
        maps_Bhw = resident.maps[rows_B]
        if resident.size == self._size:
            return MapBatch(maps_Bhw, resident.gains[rows_B], resident.floors[rows_B])
        # What normalises A depends on the size that the network sees now.
        return MapBatch(maps_Bhw, *exact_gains(maps_Bhw, (self._size, self._size)))

    def class_neighbours(self, generation: int) -> NDArray[np.int32]:
        """Return the generation's nearest classes, (K, 5) int32, -1 for none."""
        return self._open(generation)[1].class_neighbours

    def digest(self, generation: int) -> str:
        """Return the generation's digest, hex SHA-256."""
        return self._open(generation)[1].digest

    def renew_lease(self) -> None:
        """Renew the lease if that is due; cheap enough for every batch."""
        if self._lease is None or time.monotonic() - self._renewed < RENEW_SECONDS:
            return
        self._renewed = time.monotonic()
        try:
            self._lease.renew()
        except CacheNotFoundError as error:
            self._lease = None
            logger.warning("the lease had ended; the maps already open are used: %s", error)
        except (ScaeError, OSError) as error:  # it holds for a while yet: tried again soon
            logger.warning("the lease on cache %s was not renewed: %s", self._cache, error)

    def _hold(self, number: int) -> None:
        """Lease a generation instead of the one so far."""
        if number == NO_GENERATION or self._cache is None:
            if self._lease is not None:
                self._lease.release()
            self._lease = None
        elif self._lease is not None and self._lease.held:
            self._lease.move(number)
        else:
            owner = f"process {os.getpid()} on {socket.gethostname()}"
            store = SaliencyStore.open(self._cache)
            self._lease = store.lease(number, owner=owner, seconds=LEASE_SECONDS)
            # Also at the interpreter's exit; a killed process' lease ends by itself.
            weakref.finalize(self, self._lease.release)
        self._renewed = time.monotonic()

    def _open(self, number: int) -> tuple[ResidentMaps, Generation]:
        opened = self._opened
        if opened is not None and opened[:2] == (os.getpid(), number):
            return opened[2], opened[3]
        store = SaliencyStore.open(self._cache or "")
        require_same_depth(store.url, cache=store.identity.deep, data=self._data.deep)
        generation = store.generation(number)
        if not self._matched:  # samples are the same for all generations of a cache
            rows_N = self._match(store, generation)
            same_order = np.array_equal(rows_N, np.arange(len(rows_N)))
            self._rows_N = None if same_order else rows_N
            self._matched = True
        resident = generation.resident()
        logger.debug("generation %d of %s is read from here on", number, self._cache)
        self._opened = (os.getpid(), number, resident, generation)
        return resident, generation

    def _match(self, store: SaliencyStore, generation: Generation) -> NDArray[np.int64]:
        data, made = self._data, generation.provenance

        def differences() -> str:
            return store.identity.differences(
                data=data.name,
                num_samples=len(data),
                fingerprint=data.fingerprint,
                classes=(generation.labels, data.labels),
            )

        return match_rows(
            generation.sample_ids,
            generation.content_ids,
            data.sample_ids,
            data.content_ids,
            place=store.url,
            cure=f"make one with 'scae refresh --data {data.name} --network {made.network}"
            f"{' --deep' if store.identity.deep else ''} --cache' and another folder",
            accept_stale=self._accept_stale,
            fingerprints=(store.fingerprint, data.fingerprint),
            describe=data.describe,
            differences=differences,
        )
