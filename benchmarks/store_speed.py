"""Looking up 256 random maps: zarr, zarrs, tensorstore, the resident map, and plain np.memmap.

Run: .venv/bin/python -P benchmarks/store_speed.py
Needs the packages tensorstore and zarrs; a way whose package is not there is left out.
"""

import importlib.util
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

from cache_store.generation import Generation
from cache_store.resident_file import HEADER_BYTES
from cache_store.store import SaliencyStore
from pipeline.bench.random_maps import random_plan, write_random

NUM_SAMPLES = 1_281_167
SIDE = 7
LOOK_UPS = 256
ROUNDS = 15
CALLS = {"slow": 1, "fast": 20}
"""Calls in one timing: what takes microseconds is timed several times over."""

Rows = NDArray[np.int64]
Read = Callable[[Rows], object]


def make_cache(path: Path) -> Generation:
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
        fsync=False,
    )
    plan = random_plan(NUM_SAMPLES, SIDE, 224, data="random", fingerprint=fingerprint)
    return write_random(store, plan)


def zarr_ways(array: Path) -> dict[str, Read]:
    """Return look-ups through zarr-python, with its own codecs and with those of zarrs."""
    plain = zarr.open_array(str(array), mode="r")
    ways: dict[str, Read] = {
        "zarr, one map at a time": lambda rows: [plain[int(row)] for row in rows],
        "zarr, all at once (oindex)": lambda rows: plain.oindex[np.sort(rows)],
    }
    if importlib.util.find_spec("zarrs"):
        with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
            rust = zarr.open_array(str(array), mode="r")
        ways["zarrs, one map at a time"] = lambda rows: [rust[int(row)] for row in rows]
        ways["zarrs, all at once (oindex)"] = lambda rows: rust.oindex[np.sort(rows)]
    return ways


def tensorstore_ways(array: Path) -> dict[str, Read]:
    """Return look-ups through tensorstore, without a cache and with one of 1 GB."""
    if not importlib.util.find_spec("tensorstore"):
        return {}
    import tensorstore

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(array)}}
    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": 10**9}})
    plain = tensorstore.open(spec, open=True, read=True).result()
    cached = tensorstore.open(spec, open=True, read=True, context=context).result()
    return {
        "tensorstore": lambda rows: plain[rows].read().result(),
        "tensorstore, cache of 1 GB": lambda rows: cached[rows].read().result(),
    }


def seconds(read: Read, rows: Rows, calls: int) -> float:
    """Time one batch of look-ups, the mean of several calls."""
    begun = time.perf_counter()
    for _ in range(calls):
        read(rows)
    return (time.perf_counter() - begun) / calls


def time_ways(slow: dict[str, Read], fast: dict[str, Read]) -> dict[str, list[float]]:
    """Time all ways in turn, round by round, each round with rows of its own."""
    rng = np.random.default_rng(1)
    times: dict[str, list[float]] = {name: [] for name in (*slow, *fast)}
    for round_number in range(ROUNDS + 1):
        rows = rng.integers(0, NUM_SAMPLES, LOOK_UPS)
        for ways, calls in ((slow, CALLS["slow"]), (fast, CALLS["fast"])):
            for name, read in ways.items():
                measured = seconds(read, rows, calls)
                if round_number:  # the first round only warms up
                    times[name].append(measured)
    return times


def print_table(times: dict[str, list[float]], limit: str) -> None:
    """Print median, quartiles and the ratio to the limit, paired round by round."""
    for name, values in sorted(times.items(), key=lambda item: -statistics.median(item[1])):
        low, middle, high = statistics.quantiles(values, n=4)
        ratio = statistics.median(a / b for a, b in zip(values, times[limit], strict=True))
        print(
            f"{name:30s} {middle * 1e6:10.1f} us  (quartiles {low * 1e6:.1f} to {high * 1e6:.1f})"
            f"  {ratio:9.2f} x the limit"
        )


def time_opening(generation: Generation, folder: str) -> list[float]:
    """Time opening the resident file that is there, its checksum included."""
    opened = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        generation.resident(folder)
        opened.append(time.perf_counter() - begun)
    return opened


def main() -> None:
    """Print the table and the times of the resident file."""
    with tempfile.TemporaryDirectory() as folder:
        generation = make_cache(Path(folder) / "maps.zarr")
        array = Path(folder) / "maps.zarr" / "generations" / "000001" / "saliency"
        begun = time.perf_counter()
        resident = generation.resident(folder)
        made = time.perf_counter() - begun
        found = time_opening(generation, folder)
        # The limit has the alignment of our file: a row of 49 bytes from the same offset on.
        copy = np.memmap(
            Path(folder) / "limit", np.uint8, "w+", offset=HEADER_BYTES, shape=resident.maps.shape
        )
        copy[:] = resident.maps
        limit = "plain np.memmap (the limit)"
        fast: dict[str, Read] = {
            "resident map": lambda rows: resident.maps[rows],
            limit: lambda rows: copy[rows],
        }
        times = time_ways(zarr_ways(array) | tensorstore_ways(array), fast)
    print(f"{LOOK_UPS} random maps of {NUM_SAMPLES:,}, {SIDE}x{SIDE}, {ROUNDS} rounds in turn")
    packages = [name for name in ("zarr", "zarrs", "tensorstore") if importlib.util.find_spec(name)]
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", *packages))
    print(f"python {platform.python_version()}, {versions}")
    print_table(times, limit)
    low, middle, high = statistics.quantiles(found, n=4)
    print(f"decoding the generation into the resident file: {made * 1e3:.0f} ms, once a node")
    print(
        f"opening the file that is there: {middle * 1e3:.1f} ms "
        f"(quartiles {low * 1e3:.1f} to {high * 1e3:.1f})"
    )


if __name__ == "__main__":
    main()
