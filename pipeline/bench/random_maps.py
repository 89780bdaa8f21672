"""A cache of random maps: timing a loader needs maps, whatever they show."""

from importlib.metadata import version
from pathlib import Path

import numpy as np

from cache_store.provenance import Provenance
from cache_store.store import SaliencyStore
from cache_store.writer import GenerationPlan
from loaders.image_data import ImageData

__all__ = ["publish_random_maps"]

BLOCK_ROWS = 1024
"""Maps a task of a refresh makes by default."""


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
    provenance = Provenance(
        data=data.name,
        fingerprint=data.fingerprint,
        network="none",
        weights="random",
        weights_digest="0" * 64,
        target_layer="none",
        size=size,
        mean=(0.0,),
        std=(1.0,),
        batch_size=1,
        channels_last=False,
        precision="fp32",
        device_type="cpu",
        code_version=version("scae"),
    )
    plan = GenerationPlan(
        provenance=provenance,
        num_samples=len(data),
        map_shape=(cells, cells),
        block_rows=BLOCK_ROWS,
        chunk_rows=256,
    )
    writer = store.begin(plan)
    rng = np.random.default_rng(0)
    for block in range(writer.num_blocks):
        start, stop = writer.block_range(block)
        maps = rng.integers(0, 256, (stop - start, cells, cells), np.uint8)
        writer.write_block(block, maps, np.ones(stop - start), ())
    store.publish(writer)
