"""The refresh job: claim a generation, run the blocks that are missing, publish."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from cache_store.errors import CacheNotFoundError
from cache_store.generation import Generation
from cache_store.store import SaliencyStore
from cache_store.writer import GenerationWriter
from loaders.image_data import ImageData
from pipeline.errors import BlockFailure, BlocksFailed
from pipeline.refresh.blocks import Block
from pipeline.refresh.executors import Executor, LoopExecutor
from pipeline.refresh.neighbours import class_neighbours
from pipeline.refresh.plan import RefreshPlan
from pipeline.refresh.progress import Progress, ProgressCount
from pipeline.refresh.runner import BlockResult, BlockRunner, StopRequested
from pipeline.saliency.networks import BuiltNetwork

MAX_FAILURES = 20
"""Blocks that may fail before the job gives up: the cause is not a sample then."""
NAMED_FAILURES = 3
"""Failures that a message spells out."""

logger = logging.getLogger("scae")


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
    def num_computed(self) -> int:
        """Maps that were computed now, and not found."""
        return 0 if self.reused else len(self.generation) - self.num_rows_found

    @property
    def images_per_second(self) -> float:
        """Images computed per second of wall time."""
        return self.num_computed / self.seconds if self.seconds else 0.0

    @property
    def seconds_whole(self) -> float:
        """Wall time that all maps take at the rate of those computed now; 0 if none were."""
        computed = self.num_computed
        return self.seconds * len(self.generation) / computed if computed else 0.0


def execute(
    plan: RefreshPlan,
    executor: Executor | None = None,
    *,
    opened: ImageData | None = None,
    built: BuiltNetwork | None = None,
    progress: Progress = lambda _state: None,
    stop: StopRequested = lambda: False,
    notes: Mapping[str, float] | None = None,
) -> RefreshReport:
    """Make the maps of a plan and publish them as a generation.

    A rerun computes the blocks without valid receipts only. If the latest generation was made from
    this plan, nothing is done.

    Args:
        plan: From `plan_refresh`.
        executor: Who runs the blocks; None is a plain loop in this process.
        opened: The data if it is open already.
        built: The network if it is built already.
        progress: Called after each block, and now and then.
        stop: Asked between batches whether to stop.
        notes: Figures to keep in the generation's manifest, by name.

    Raises:
        CacheMismatchError: If the cache was made for other data.
        BlocksFailed: If blocks failed; the others are done, and nothing is published.
        Stopped: If `stop` said so; what is done stays on disk.
    """
    begun = time.perf_counter()
    opened = opened if opened is not None else plan.data.open()
    built = built or plan.network.build()
    store = open_or_create(plan, opened)
    latest = latest_of_plan(store, plan)
    if latest is not None:
        return reused_report(latest, time.perf_counter() - begun)
    writer = store.begin(plan.generation)
    executor = executor or own_loop(opened, built)
    with listed_anew_after_failure(opened):
        work = compute_blocks(plan, writer, plan.blocks, executor, progress, stop)
    neighbours_K5 = class_neighbours(built.module, plan.network.num_classes)
    generation = store.publish(writer, neighbours_K5, notes)
    return RefreshReport(
        generation=generation,
        reused=False,
        num_rows_found=work.rows_found,
        seconds=time.perf_counter() - begun,
        shares=work.shares(),
    )


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


@contextmanager
def listed_anew_after_failure(opened: ImageData) -> Iterator[None]:
    """Have the data listed anew if blocks fail: other machines may have seen that it changed."""
    try:
        yield
    except BlocksFailed:
        opened.forget_listing()
        raise


def own_loop(opened: ImageData, built: BuiltNetwork) -> LoopExecutor:
    """Return a plain loop over data and network that are open already."""
    return LoopExecutor(lambda planned: BlockRunner(planned, opened, built))


def latest_of_plan(store: SaliencyStore, plan: RefreshPlan) -> Generation | None:
    """Return the latest generation if it was made from this very plan."""
    try:
        latest = store.latest()
    except CacheNotFoundError:
        return None
    return latest if latest.manifest.plan.digest() == plan.generation.digest() else None


def begun_number(store: SaliencyStore, plan: RefreshPlan) -> int | None:
    """Return the number of the unfinished generation of this very plan."""
    wanted = plan.generation.digest()
    numbers = [number for number, begun in store.unfinished().items() if begun.digest() == wanted]
    return max(numbers, default=None)


def reused_report(generation: Generation, seconds: float) -> RefreshReport:
    """Report a generation that was there already."""
    return RefreshReport(
        generation=generation,
        reused=True,
        num_rows_found=0,
        seconds=seconds,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class BlocksDone:
    """Blocks that have their receipts now."""

    results: Sequence[BlockResult]
    """What those computed by this job tell."""
    rows_found: int
    """Rows of those that an earlier run had left done."""

    def shares(self) -> dict[str, float]:
        """Return the share of the time spent on decode, network and write, each in [0, 1]."""
        names = ("decode", "network", "write")
        sums = {name: sum(result.seconds[name] for result in self.results) for name in names}
        total = sum(sums.values()) or 1.0
        return {name: seconds / total for name, seconds in sums.items()}


def compute_blocks(
    plan: RefreshPlan,
    writer: GenerationWriter,
    blocks: Sequence[Block],
    executor: Executor,
    progress: Progress,
    stop: StopRequested,
) -> BlocksDone:
    """Compute those of some blocks that have no valid receipt yet.

    Args:
        plan: The plan.
        writer: The generation.
        blocks: All blocks that are this job's.
        executor: Who runs them.
        progress: Called after each block, and now and then.
        stop: Asked between batches whether to stop.

    Raises:
        BlocksFailed: If blocks failed; the others are done.
        Stopped: If `stop` said so.
    """
    pending = set(writer.pending())
    missing = [block for block in blocks if block.number in pending]
    rows = sum(map(len, blocks))
    count = ProgressCount(
        progress,
        rows=rows,
        blocks=len(blocks),
        rows_found=rows - sum(map(len, missing)),
        blocks_found=len(blocks) - len(missing),
    )
    results: list[BlockResult] = []
    failures: list[BlockFailure] = []
    count.tell(0, None)
    with closing(executor.run(plan, writer.number, missing, stop)) as outcomes:
        for outcome in outcomes:
            if isinstance(outcome, BlockFailure):
                logger.warning("block %d failed: %s", outcome.block, outcome.error)
                failures.append(outcome)
                count.failed()
            elif outcome is not None:
                logger.debug("block %d is done: %d images", outcome.block, outcome.num_rows)
                results.append(outcome)
                count.done(outcome.num_rows)
            count.tell(executor.num_workers, executor.dashboard)
            if len(failures) >= MAX_FAILURES:
                break
    if failures:
        failures.sort(key=lambda failure: failure.block)
        raise BlocksFailed(tuple(failures), _failed(plan, failures))
    return BlocksDone(results=results, rows_found=count.rows_found)


def _failed(plan: RefreshPlan, failures: list[BlockFailure]) -> str:
    named = "; ".join(
        f"block {failure.block} (tried {failure.attempts} times): {failure.error}"
        for failure in failures[:NAMED_FAILURES]
    )
    more = len(failures) - NAMED_FAILURES
    others = f"; and {more} more" if more > 0 else ""
    gave_up = ", and the job gave up" if len(failures) >= MAX_FAILURES else ""
    by_images = not all(failure.by_network for failure in failures)
    skip = ", or add --on-error skip to leave images out that can't be read" if by_images else ""
    return (
        f"{len(failures)} of {len(plan.blocks)} blocks failed{gave_up}, nothing is published: "
        f"{named}{others}. What is done stays done: mend the cause and run the same command "
        f"again{skip}"
    )
