"""Write the small cache that every later version must read: tests/data/format-1.

Run once a format version: .venv/bin/python -P scripts/make_format_fixture.py FOLDER
The maps are a formula that the test computes again, so nothing but this file makes them.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache_store.provenance import Provenance
from cache_store.store import SaliencyStore
from cache_store.writer import GenerationPlan

NUM_SAMPLES = 70
NUM_CLASSES = 4


def formula_maps(start: int, stop: int, generation: int) -> NDArray[np.uint8]:
    """Return the maps of rows start .. stop - 1, (B, 3, 5) uint8; every seventh one is flat."""
    rows = np.arange(start, stop).reshape(-1, 1, 1)
    cells = np.arange(15).reshape(1, 3, 5)
    maps = (rows * 31 + cells * 17 + generation * 101) % 256
    return np.where(rows % 7 == 6, 0, maps).astype(np.uint8)


def plan(generation: int) -> GenerationPlan:
    """Return the plan of one generation."""
    return GenerationPlan(
        provenance=Provenance(
            data="formula",
            fingerprint="0123456789abcdef" * 4,
            network="resnet8",
            weights="checkpoint",
            weights_digest=f"{generation:064x}",
            target_layer="layer3",
            size=32,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            batch_size=16,
            channels_last=True,
            precision="fp32",
            device_type="cpu",
            code_version="0.1.0",
            epoch=generation * 4 - 1,
        ),
        num_samples=NUM_SAMPLES,
        map_shape=(3, 5),
        block_rows=32,
        chunk_rows=16,
    )


def write_blocks(store: SaliencyStore, generation: int, blocks: tuple[int, ...]) -> None:
    """Write some blocks of a generation, and publish it if these are all."""
    writer = store.begin(plan(generation))
    for block in blocks:
        maps = formula_maps(*writer.block_range(block), generation)
        writer.write_block(block, maps, maps[:, 0, 0] / 256, (6,) if block == 0 else ())
    if not writer.pending():
        neighbours = (np.arange(NUM_CLASSES)[:, None] + np.arange(1, 6)) % NUM_CLASSES
        store.publish(writer, neighbours.astype(np.int32))


def write(folder: Path) -> None:
    """Write a cache that has an object of every kind.

    Generation 1 is collected, 2 and 3 are published, 4 was given up and collected (its tombstone
    stays), 5 is half done, and somebody reads 2.
    """
    rows = np.arange(NUM_SAMPLES, dtype=np.uint64)
    store = SaliencyStore.create(
        folder,
        sample_ids=rows * np.uint64(0x9E3779B97F4A7C15),
        content_ids=rows * np.uint64(0xD1B54A32D192ED03),
        labels=np.arange(NUM_SAMPLES) % NUM_CLASSES,
        fingerprint="0123456789abcdef" * 4,
        data="formula",
        deep=True,
    )
    for generation in (1, 2, 3):
        write_blocks(store, generation, (0, 1, 2))
    write_blocks(store, 4, (0,))
    store.gc(keep=2, grace_seconds=0.0)
    write_blocks(store, 5, (1,))
    store.lease(2, owner="somebody")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
