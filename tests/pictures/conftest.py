"""A small data set and caches of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cache_store.store import SaliencyStore
from loaders.image_data import ArrayData, ImageData

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cache_store.writer import GenerationPlan

    MakeCache = Callable[..., SaliencyStore]
    Publish = Callable[..., None]

SIZE, FLAT_ROW = 32, 4
NAMES = ("ant", "$x_1^", "\u72ac")  # markup of matplotlib, and a letter its font does not have


@pytest.fixture
def data() -> ArrayData:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (12, SIZE, SIZE, 3), np.uint8)
    return ArrayData(images, np.repeat((0, 1, 2), (6, 4, 2)), NAMES, name="toy")


@pytest.fixture
def maps() -> NDArray[np.uint8]:
    maps_N34 = np.random.default_rng(2).integers(0, 256, (12, 3, 4), np.uint8)
    maps_N34[FLAT_ROW] = 0
    return maps_N34


@pytest.fixture
def publish(make_plan: Callable[..., GenerationPlan]) -> Publish:
    """Publish maps as a cache's next generation."""

    def add(store: SaliencyStore, maps: NDArray[np.uint8], *, epoch: int | None = None) -> None:
        num = len(store.sample_ids())
        plan = make_plan(num, size=SIZE)
        made = replace(
            plan.provenance,
            fingerprint=store.identity.fingerprint,
            network="folder/" * 12 + "network.py:build",  # no blank to break a line at
            epoch=epoch,
        )
        writer = store.begin(replace(plan, provenance=made))
        for block in writer.pending():
            start, stop = writer.block_range(block)
            chances = np.full(stop - start, 0.25)
            writer.write_block(block, np.resize(maps, (stop, 3, 4))[start:], chances, ())
        store.publish(writer)

    return add


@pytest.fixture
def make_cache(publish: Publish, maps: NDArray[np.uint8]) -> MakeCache:
    def make(url: Path, data: ImageData, *, publish_maps: bool = True) -> SaliencyStore:
        store = SaliencyStore.create(
            url,
            sample_ids=data.sample_ids,
            content_ids=data.content_ids,
            labels=data.labels,
            fingerprint=data.fingerprint,
            data=data.name,
        )
        if publish_maps:
            publish(store, maps)
        return store

    return make
