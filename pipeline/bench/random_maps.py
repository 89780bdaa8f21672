"""A cache of random maps: timing a store or a loader needs maps, whatever they show."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from cache_store.generation import Generation
from cache_store.provenance import Provenance
from cache_store.store import SaliencyStore
from cache_store.writer import GenerationPlan
from loaders.image_data import ImageData

__all__ = ["publish_random_maps", "random_plan", "write_random"]

BLOCK_ROWS, CHUNK_ROWS = 1024, 256
"""Maps a task and a chunk of a refresh hold by default."""


def random_plan(num: int, cells: int, size: int, *, data: str, fingerprint: str) -> GenerationPlan:
    """Return a plan of the default cut for maps that no network made.

    Args:
        num: Number of samples.
        cells: Height and width of a map.
        size: Side of the images in pixels.
        data: Name of the data set.
        fingerprint: Its fingerprint, hex SHA-256.
    """
    provenance = Provenance(
        data=data,
        fingerprint=fingerprint,
        network="none",
        weights="random",
        weights_digest="0" * 64,
        target_layer="none",
        size=size,
        mean=(0.0,),
        std=(1.0,),
        batch_size=1,
        channels_last=True,
        precision="fp32",
        device_type="cpu",
        code_version=version("scae"),
    )
    return GenerationPlan(
        provenance=provenance,
        num_samples=num,
        map_shape=(cells, cells),
        block_rows=BLOCK_ROWS,
        chunk_rows=CHUNK_ROWS,
    )


def write_random(
    store: SaliencyStore,
    plan: GenerationPlan,
    *,
    before_publishing: Callable[[], object] = lambda: None,
) -> Generation:
    """Publish one generation of uniformly random maps.

    Args:
        store: The cache.
        plan: What to pretend.
        before_publishing: Called when every block is written.
    """
    writer = store.begin(plan)
    rng = np.random.default_rng(0)
    for block in range(writer.num_blocks):
        start, stop = writer.block_range(block)
        maps = rng.integers(0, 256, (stop - start, *plan.map_shape), np.uint8)
        writer.write_block(block, maps, np.ones(stop - start), ())
    before_publishing()
    return store.publish(writer)


def publish_random_maps(data: ImageData, cache: Path, size: int, cells: int) -> None:
    """Publish one generation of cells x cells random maps for a data set's images at `size`."""
    store = SaliencyStore.create(
        cache,
        sample_ids=data.sample_ids,
        content_ids=data.content_ids,
        labels=data.labels,
        fingerprint=data.fingerprint,
        data=data.name,
    )
    write_random(
        store, random_plan(len(data), cells, size, data=data.name, fingerprint=data.fingerprint)
    )
