"""Batches in the making, on random images and given maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch

from loaders.batches import BatchKey
from loaders.gains import exact_gains
from loaders.geometry import Whole
from loaders.image_data import ArrayData
from loaders.map_source import MapBatch
from loaders.methods.draft import Draft, Sources
from loaders.methods.method import Setting
from loaders.partners import PartnerTable
from loaders.randomness import KeyedStream
from loaders.transforms import StandardTransform

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from loaders.map_source import MapSource

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


class GivenMaps:
    """Stands in for a cache: generation 0 has no maps, any other these."""

    def __init__(self, maps: NDArray[np.uint8], size: int) -> None:
        self._maps, self._size = maps, size

    def fetch(self, generation: int, indices: NDArray[np.int64]) -> MapBatch:
        maps = self._maps[indices] * np.uint8(generation > 0)
        return MapBatch(maps, *exact_gains(maps, (self._size, self._size)))


@pytest.fixture
def make_draft() -> Callable[..., Draft]:
    """A batch of whole random images, each class equally often."""

    def make(
        num: int = 12,
        size: int = 16,
        *,
        maps: NDArray[np.uint8] | None = None,
        labels: NDArray[np.int64] | None = None,
        rows: list[int] | None = None,
        **key: int,
    ) -> Draft:
        rng = np.random.default_rng(11)
        pixels = rng.integers(0, 256, (num, size, size, 3), np.uint8)
        classes = np.arange(num) % 4 if labels is None else labels
        data = ArrayData(pixels, classes, ["a", "b", "c", "d"], name="toy")
        transform = StandardTransform(geometry=Whole(size), mean=MEAN, std=STD)
        given = np.zeros((num, 2, 2), np.uint8) if maps is None else maps
        sources = Sources(
            data=data,
            maps=cast("MapSource", GivenMaps(given, size)),
            transform=transform,
            partners=PartnerTable(data.labels, data.num_classes),
            seed=key.pop("seed", 5),
        )
        indices = np.arange(num) if rows is None else np.array(rows)
        values: dict[str, Any] = {"epoch": 0, "generation": 1, "step": 0, **key}
        batch_key = BatchKey(indices=indices, draws=np.zeros_like(indices), **values)
        return Draft(sources, batch_key, *load(sources, batch_key))

    return make


def load(sources: Sources, key: BatchKey) -> tuple[torch.Tensor, Any]:
    stream = KeyedStream(sources.seed, key.epoch, key.indices, key.draws, "geometry")
    return sources.transform.load(sources.data, key.indices, stream)


@pytest.fixture
def setting() -> Callable[..., Setting]:
    """A run of 10 epochs on four classes."""

    def make(size: int = 16, **options: Any) -> Setting:  # noqa: ANN401
        values = {"num_epochs": 10, "class_counts": (3, 3, 3, 3), "mean": MEAN, "std": STD}
        return Setting(size=size, **{**values, **options})

    return make
