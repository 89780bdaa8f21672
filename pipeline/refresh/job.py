"""The refresh job: claim a generation, run the blocks that are missing, publish."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cache_store.errors import CacheNotFoundError
from cache_store.generation import Generation
from cache_store.store import SaliencyStore
from loaders.image_data import ImageData
from pipeline.refresh.executors import Executor, LoopExecutor
from pipeline.refresh.neighbours import class_neighbours
from pipeline.refresh.plan import RefreshPlan
from pipeline.refresh.runner import BlockResult, BlockRunner, StopRequested
from pipeline.saliency.networks import BuiltNetwork

Progress = Callable[[int, int], None]
"""Called with the rows done and the rows in all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshReport:
    """What a refresh did."""

    generation: Generation
    """The published generation."""
    reused: bool
    """True if the latest generation was made from this very plan, so nothing was computed."""
    num_rows_found: int
    """Rows that an earlier, unfinished run had left with valid receipts."""
    seconds: float
    """Wall time."""
    shares: dict[str, float] = field(default_factory=dict)
    """Share of the blocks' time spent on decode, network and write, each in [0, 1]."""

    @property
    def num_flat(self) -> int:
        """Maps without any saliency; their centres are drawn uniformly."""
        return self.generation.manifest.num_flat

    @property
    def images_per_second(self) -> float:
        """Images computed per second of wall time."""
        computed = 0 if self.reused else len(self.generation) - self.num_rows_found
        return computed / self.seconds if self.seconds else 0.0


def execute(
    plan: RefreshPlan,
    executor: Executor | None = None,
    *,
    opened: ImageData | None = None,
    built: BuiltNetwork | None = None,
    progress: Progress = lambda _done, _total: None,
    stop: StopRequested = lambda: False,
) -> RefreshReport:
    """Make the maps of a plan and publish them as a generation.

    A rerun computes the blocks without valid receipts only. If the latest generation was made from
    this plan, nothing is done.

    Args:
        plan: From `plan_refresh`.
        executor: Who runs the blocks; None is a plain loop in this process.
        opened: The data if it is open already.
        built: The network if it is built already.
        progress: Called after each block.
        stop: Asked between batches whether to stop.

    Raises:
        CacheMismatchError: If the cache was made for other data.
        Stopped: If `stop` said so; what is done stays on disk.
    """
    begun = time.perf_counter()
    opened = opened if opened is not None else plan.data.open()
    built = built or plan.network.build()
    store = open_or_create(plan, opened)
    latest = _latest_of_plan(store, plan)
    if latest is not None:
        seconds = time.perf_counter() - begun
        return RefreshReport(generation=latest, reused=True, num_rows_found=0, seconds=seconds)
    neighbours = class_neighbours(built.module, plan.network.num_classes)
    executor = executor or LoopExecutor(lambda planned: BlockRunner(planned, opened, built))
    return _run(plan, store, executor, neighbours, progress, stop, begun)


def open_or_create(plan: RefreshPlan, data: ImageData) -> SaliencyStore:
    """Open the plan's cache, made first if it is not there.

    Raises:
        CacheMismatchError: If it was made for other data.
    """
    return SaliencyStore.create(
        plan.cache,
        sample_ids=data.sample_ids,
        content_ids=data.content_ids,
        labels=data.labels,
        fingerprint=data.fingerprint,
        data=data.name,
        deep=data.deep,
        fsync=plan.options.fsync,
    )


def _latest_of_plan(store: SaliencyStore, plan: RefreshPlan) -> Generation | None:
    try:
        latest = store.latest()
    except CacheNotFoundError:
        return None
    return latest if latest.manifest.plan.digest() == plan.generation.digest() else None


def _run(
    plan: RefreshPlan,
    store: SaliencyStore,
    executor: Executor,
    neighbours: NDArray[np.int32],
    progress: Progress,
    stop: StopRequested,
    begun: float,
) -> RefreshReport:
    writer = store.begin(plan.generation)
    pending = set(writer.pending())
    blocks = [block for block in plan.blocks if block.number in pending]
    total = plan.generation.num_samples
    found = total - sum(len(block) for block in blocks)
    done = found
    progress(done, total)
    results: list[BlockResult] = []
    for result in executor.run(plan, writer.number, blocks, stop):
        results.append(result)
        done += result.num_rows
        progress(done, total)
    generation = store.publish(writer, neighbours)
    return RefreshReport(
        generation=generation,
        reused=False,
        num_rows_found=found,
        seconds=time.perf_counter() - begun,
        shares=_shares(results),
    )


def _shares(results: list[BlockResult]) -> dict[str, float]:
    sums = {name: 0.0 for name in ("decode", "network", "write")}
    for result in results:
        for name, seconds in result.seconds.items():
            sums[name] += seconds
    total = sum(sums.values()) or 1.0
    return {name: seconds / total for name, seconds in sums.items()}
