"""Looking up 256 random maps: through plain Zarr against our memory-mapped file, in one run.

Run: .venv/bin/python -P benchmarks/resident_lookup.py
"""

import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from cache_store.provenance import Provenance
from cache_store.receipts import COLUMNS
from cache_store.store import SaliencyStore
from cache_store.writer import GenerationPlan

NUM_SAMPLES = 200_000
MAP_SIDE = 7
LOOK_UPS = 256
ROUNDS = 9


def make_cache(path: Path) -> SaliencyStore:
    """Publish one generation of random maps."""
    ids = np.arange(NUM_SAMPLES, dtype=np.uint64)
    fingerprint = "0" * 64
    store = SaliencyStore.create(
        path,
        sample_ids=ids,
        content_ids=ids,
        labels=np.zeros(NUM_SAMPLES, np.int64),
        fingerprint=fingerprint,
        data="random",
    )
    provenance = Provenance(
        data="random",
        fingerprint=fingerprint,
        network="none",
        weights="random",
        weights_digest="0" * 64,
        target_layer="none",
        size=224,
        mean=(0.0,),
        std=(1.0,),
        batch_size=1,
        channels_last=True,
        precision="fp32",
        device_type="cpu",
        code_version=version("scae"),
    )
    plan = GenerationPlan(
        provenance=provenance,
        num_samples=NUM_SAMPLES,
        map_shape=(MAP_SIDE, MAP_SIDE),
        block_rows=1024,
        chunk_rows=256,
    )
    writer = store.begin(plan)
    rng = np.random.default_rng(0)
    for block in range(writer.num_blocks):
        start, stop = writer.block_range(block)
        maps = rng.integers(0, 256, (stop - start, MAP_SIDE, MAP_SIDE), np.uint8)
        writer.write_block(block, maps, _ones, ())
    store.publish(writer)
    return store


def _ones(maps: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    return dict.fromkeys(COLUMNS, np.ones(len(maps), np.float32))


def seconds(read: Callable[[NDArray[np.int64]], object], rows: NDArray[np.int64]) -> float:
    """Time one batch of look-ups."""
    begun = time.perf_counter()
    read(rows)
    return time.perf_counter() - begun


def main() -> None:
    """Print a table of medians and the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        store = make_cache(Path(folder) / "maps.zarr")
        generation = store.latest()
        begun = time.perf_counter()
        resident = generation.resident(folder)
        made = time.perf_counter() - begun
        begun = time.perf_counter()
        generation.resident(folder)
        found = time.perf_counter() - begun
        plain = zarr.open_array(f"{store.url}/generations/000001/saliency", mode="r")
        limit = np.memmap(Path(folder) / "limit", np.uint8, "w+", shape=resident.maps.shape)
        limit[:] = resident.maps
        ways: dict[str, Callable[[NDArray[np.int64]], object]] = {
            "zarr, one map at a time": lambda rows: [plain[int(row)] for row in rows],
            "zarr, all at once (oindex)": lambda rows: plain.oindex[np.sort(rows)],
            "resident map": lambda rows: resident.maps[rows],
            "plain np.memmap (the limit)": lambda rows: limit[rows],
        }
        rng = np.random.default_rng(1)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            rows = rng.integers(0, NUM_SAMPLES, LOOK_UPS)
            for name, read in ways.items():
                times[name].append(seconds(read, rows))
    print(f"{LOOK_UPS} random maps of {NUM_SAMPLES:,}, {MAP_SIDE}x{MAP_SIDE}, medians of {ROUNDS}")
    print(f"python {platform.python_version()}, zarr {version('zarr')}, numpy {version('numpy')}")
    ours = statistics.median(times["resident map"])
    for name, values in times.items():
        middle = statistics.median(values)
        low, _, high = statistics.quantiles(values, n=4)
        print(
            f"{name:30s} {middle * 1e6:10.1f} us  (quartiles {low * 1e6:.1f} to {high * 1e6:.1f})"
            f"  {middle / ours:8.1f} x ours"
        )
    print(f"decoding the generation into the resident file: {made * 1e3:.0f} ms, once a node")
    print(f"opening the file that is there: {found * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
