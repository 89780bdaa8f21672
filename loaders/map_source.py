"""The maps of a data set's samples, by generation, opened where and when they are first needed.

Legend: B samples of a batch, N samples of the data set, h, w height and width of a map.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache_store.generation import Generation
from cache_store.identity import match_rows
from cache_store.resident import ResidentMaps
from cache_store.store import SaliencyStore
from loaders.batches import NO_GENERATION
from loaders.gains import exact_gains
from loaders.image_data import ImageData


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
    """

    def __init__(self, data: ImageData, cache: str | Path | None, size: int) -> None:
        self._data = data
        self._cache = None if cache is None else str(cache)
        self._size = size
        self._opened: tuple[int, int, ResidentMaps, Generation] | None = None
        self._rows_N: NDArray[np.int64] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_opened": None}

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
        if generation != NO_GENERATION:
            self._open(generation)

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

    def _open(self, number: int) -> tuple[ResidentMaps, Generation]:
        opened = self._opened
        if opened is not None and opened[:2] == (os.getpid(), number):
            return opened[2], opened[3]
        generation = SaliencyStore.open(self._cache or "").generation(number)
        rows_N = match_rows(
            generation.sample_ids,
            generation.content_ids,
            self._data.sample_ids,
            self._data.content_ids,
            place=str(self._cache),
            cure=f"make one for {self._data.name} with 'scae refresh --cache' and another folder",
        )
        same_order = np.array_equal(rows_N, np.arange(len(rows_N)))
        self._rows_N = None if same_order else rows_N
        resident = generation.resident()
        self._opened = (os.getpid(), number, resident, generation)
        return resident, generation
