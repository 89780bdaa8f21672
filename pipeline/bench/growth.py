"""What grows with the data: requests, manifest bytes and memory, counted by running the real code.

Each function runs it on a small case, or on a part of a large one, and scales that; none repeats a
formula of the code.

Legend: N samples.
"""

import itertools
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from cache_store.arrays import ArraySpec, neighbours_spec, probability_spec
from cache_store.backend import ObjectInfo
from cache_store.layout import generation_key
from cache_store.manifest import Manifest, Objects
from cache_store.memory_backend import MemoryBackend
from cache_store.rows import match_rows
from cache_store.samples import SAMPLE_COLUMNS, sample_spec
from cache_store.store import SaliencyStore
from cache_store.writer import GenerationPlan
from loaders.sample_orders import Shuffle
from loaders.samplers import EpochBatches
from pipeline.bench.random_maps import random_plan, write_random

__all__ = [
    "Requests",
    "count_requests",
    "manifest_bytes",
    "manifest_heap_bytes",
    "match_bytes",
    "num_objects",
    "order_bytes",
]

NUM_CLASSES = 1000
MEAN_SHARD_BYTES = 26_000
"""A shard's length decides how many digits the manifest gives it, and no more."""
SAMPLED_OBJECTS = 2000
"""Entries of a manifest that are really encoded; the rest are like them."""
LISTED_AT_ONCE = 1000
"""Keys in one answer of an object store."""
SMALL_ROWS = 4
"""Rows of a block where requests are counted: their number does not depend on it."""
SMALL_BLOCKS = (20, 60)
"""Numbers of blocks of the two small refreshes whose difference is what a block costs."""
MEMORY_ROWS = 1_000_000
"""N where memory is measured."""
_names = (f"memory://growth-{number}" for number in itertools.count())


def _specs(plan: GenerationPlan) -> list[ArraySpec]:
    """Return every array that a generation's manifest lists."""
    group = generation_key(1)
    return [
        plan.saliency_spec(1),
        probability_spec(group, plan.num_samples),
        neighbours_spec(group, NUM_CLASSES),
        *(sample_spec(name, plan.num_samples) for name in SAMPLE_COLUMNS),
    ]


def num_objects(plan: GenerationPlan) -> int:
    """Return how many objects with data a generation's manifest lists."""
    return sum(spec.num_objects for spec in _specs(plan))


def manifest_bytes(plan: GenerationPlan) -> float:
    """Return the bytes of a generation's manifest."""
    empty = len(_manifest(plan, {}).encode())
    total = float(empty)
    for spec in _specs(plan):
        some = _some_objects(spec)
        total += (len(_manifest(plan, some).encode()) - empty) / len(some) * spec.num_objects
    return total


def manifest_heap_bytes(entries: int) -> float:
    """Return the memory that one entry of a manifest takes in a process that has it open.

    Args:
        entries: Of the manifest that is opened to find out.
    """
    plan = random_plan(entries * 1024, 7, 224, data="data", fingerprint="0" * 64)
    encoded = _manifest(plan, _some_objects(plan.saliency_spec(1), entries)).encode()
    kept: list[Manifest] = []
    held, _ = _traced(lambda: kept.append(Manifest.decode(encoded, "here")))
    return held / entries


def _some_objects(spec: ArraySpec, about: int = SAMPLED_OBJECTS) -> Objects:
    step = max(1, spec.num_objects // about)
    numbers = range(0, spec.num_objects, step)
    return {spec.object_key(number): (MEAN_SHARD_BYTES, f"{number:064x}") for number in numbers}


def _manifest(plan: GenerationPlan, objects: Objects) -> Manifest:
    return Manifest(
        generation=1,
        plan=plan,
        objects=objects,
        skipped=(),
        num_flat=0,
        writer="0" * 32,
        software={},
        published_at="2026-01-01T00:00:00+00:00",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Requests:
    """How often a refresh asks the store, from its first block to its publication."""

    blocks: float
    """What the workers ask, side by side."""
    publishing: float
    """What the publication asks, one request after another."""


class _CountingBackend(MemoryBackend):
    """Counts requests, as an object store would charge them."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.requests: Counter[str] = Counter()

    def read(self, key: str) -> bytes | None:
        """Count an object that is read; asking for its length comes here too."""
        self.requests["single"] += 1
        return super().read(key)

    def write(self, key: str, data: bytes) -> None:
        """Count an object that is written."""
        self.requests["single"] += 1
        super().write(key, data)

    def create(self, key: str, data: bytes) -> bool:
        """Count an object that is created."""
        self.requests["single"] += 1
        return super().create(key, data)

    def delete(self, key: str) -> None:
        """Count an object that is removed."""
        self.requests["single"] += 1
        super().delete(key)

    def list(self, prefix: str) -> list[ObjectInfo]:
        """Count the keys that are listed."""
        found = super().list(prefix)
        self.requests["listed"] += len(found)
        return found

    def taken(self) -> Counter[str]:
        """Return what was counted since the last time."""
        counted, self.requests = self.requests, Counter()
        return counted


def count_requests(plan: GenerationPlan) -> Requests:
    """Return the requests of a first refresh of a plan, counted on two small ones."""
    few, many = (_counted(blocks) for blocks in SMALL_BLOCKS)
    more = SMALL_BLOCKS[1] - SMALL_BLOCKS[0]
    num_blocks = plan.saliency_spec(1).num_objects
    # Every other object is written once and, of those shared by all generations, read once.
    columns = num_objects(plan) - num_blocks - (num_objects(_small_plan(1)) - 1)

    def grown(part: int) -> float:
        each = {name: (many[part][name] - few[part][name]) / more for name in ("single", "listed")}
        start = few[part]["single"] - each["single"] * SMALL_BLOCKS[0]
        listed = each["listed"] * num_blocks / LISTED_AT_ONCE
        return start + each["single"] * num_blocks + listed

    return Requests(blocks=grown(0), publishing=grown(1) + columns)


def _small_plan(blocks: int) -> GenerationPlan:
    plan = random_plan(blocks * SMALL_ROWS, 2, 8, data="data", fingerprint="0" * 64)
    return replace(plan, block_rows=SMALL_ROWS, chunk_rows=SMALL_ROWS)


@cache
def _counted(blocks: int) -> tuple[Counter[str], Counter[str]]:
    """Refresh once with so many blocks; return what blocks and publication asked."""
    plan = _small_plan(blocks)
    ids = np.arange(plan.num_samples, dtype=np.uint64)
    url = next(_names)
    made = SaliencyStore.create(
        url,
        sample_ids=ids,
        content_ids=ids,
        labels=ids.astype(np.int64),
        fingerprint=plan.provenance.fingerprint,
        data=plan.provenance.data,
    )
    backend = _CountingBackend(url)
    store = SaliencyStore(backend, made.identity, writable=True)
    store.begin(plan).pending()
    counted: list[Counter[str]] = []
    write_random(store, plan, before_publishing=lambda: counted.append(backend.taken()))
    return counted[0], backend.taken()


def match_bytes(*, same_order: bool) -> float:
    """Return the memory a sample, at its peak, that finding all samples' rows takes.

    That is beside the data's own ids, in each process that opens the maps.

    Args:
        same_order: Whether the cache's rows are in the data's order.
    """
    rng = np.random.default_rng(0)
    ids = rng.permutation(MEMORY_ROWS).astype(np.uint64)
    there = ids if same_order else rng.permutation(ids)
    contents = there.astype(np.uint32)
    own = ids.copy()
    _, peak = _traced(
        lambda: match_rows(there.copy(), contents.copy(), own, own, place="", cure="")
    )
    return peak / MEMORY_ROWS


def order_bytes() -> float:
    """Return the memory a sample, at its peak, that the order of an epoch takes in each rank."""
    batches = EpochBatches(Shuffle(MEMORY_ROWS), 256)
    _, peak = _traced(lambda: next(iter(batches)))
    return peak / MEMORY_ROWS


def _traced(work: Callable[[], object]) -> tuple[int, int]:
    """Return the bytes that are held after some work, and at its peak."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        work()
        held, peak = tracemalloc.get_traced_memory()
        return held - before, peak - before
    finally:
        tracemalloc.stop()
