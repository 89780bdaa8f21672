"""A refresh without any scheduler: parts that know nothing of each other, and a last step.

Every part finds the generation of its plan, or claims it: the number belongs to that plan for
ever, so parts that were started with different options never write into one generation.
"""

import time
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from cache_store.store import SaliencyStore
from cache_store.writer import GenerationPlan, GenerationWriter
from loaders.image_data import ImageData
from pipeline.errors import RefreshError
from pipeline.refresh.executors import Executor
from pipeline.refresh.job import (
    RefreshReport,
    begun_number,
    compute_blocks,
    latest_of_plan,
    listed_anew_after_failure,
    open_or_create,
    own_loop,
    reused_report,
)
from pipeline.refresh.neighbours import class_neighbours
from pipeline.refresh.part import Part
from pipeline.refresh.plan import RefreshPlan
from pipeline.refresh.progress import Progress
from pipeline.refresh.runner import StopRequested
from pipeline.saliency.networks import BuiltNetwork


@dataclass(frozen=True, kw_only=True, slots=True)
class PartReport:
    """What a part did."""

    generation: int
    """Number of the generation it belongs to."""
    published: bool
    """True if that is published already, so there was nothing to do."""
    num_blocks: int
    """Blocks of this part, all done now."""
    num_rows: int
    """Images in them."""
    num_rows_found: int
    """Images that were done already."""
    seconds: float
    """Wall time."""


def execute_part(
    plan: RefreshPlan,
    part: Part,
    executor: Executor | None = None,
    *,
    opened: ImageData | None = None,
    built: BuiltNetwork | None = None,
    progress: Progress = lambda _state: None,
    stop: StopRequested = lambda: False,
) -> PartReport:
    """Compute one part of a plan's blocks and publish nothing; see `finalize`.

    Args:
        plan: From `plan_refresh`; the same in all parts.
        part: Which of the blocks.
        executor: Who runs the blocks; None is a plain loop in this process.
        opened: The data if it is open already.
        built: The network if it is built already.
        progress: Called after each block, and now and then.
        stop: Asked between batches whether to stop.

    Raises:
        CacheMismatchError: If the cache was made for other data.
        BlocksFailed: If blocks failed; the others are done.
        Stopped: If `stop` said so; what is done stays on disk.
    """
    begun = time.perf_counter()
    opened = opened if opened is not None else plan.data.open()
    built = built or plan.network.build()
    store = open_or_create(plan, opened)
    blocks = part.of(plan.blocks)
    rows = sum(map(len, blocks))
    latest = latest_of_plan(store, plan)
    number, found = (latest.number, rows) if latest is not None else (0, 0)
    if latest is None:
        writer = store.begin(plan.generation)
        executor = executor or own_loop(opened, built)
        with listed_anew_after_failure(opened):
            work = compute_blocks(plan, writer, blocks, executor, progress, stop)
        number, found = writer.number, work.rows_found
    return PartReport(
        generation=number,
        published=latest is not None,
        num_blocks=len(blocks),
        num_rows=rows,
        num_rows_found=found,
        seconds=time.perf_counter() - begun,
    )


def finalize(
    plan: RefreshPlan, *, built: BuiltNetwork | None = None, num_parts: int | None = None
) -> RefreshReport:
    """Publish what the parts have computed; computes nothing itself.

    Args:
        plan: The parts' plan.
        built: The network if it is built already.
        num_parts: Number of parts, to name those that are missing.

    Raises:
        CacheNotFoundError: If there is no cache.
        RefreshError: If blocks are missing, naming them, or no part of this plan has begun.
    """
    begun = time.perf_counter()
    store = SaliencyStore.open(plan.cache, "r+", fsync=plan.options.fsync)
    latest = latest_of_plan(store, plan)
    if latest is not None:
        return reused_report(latest, time.perf_counter() - begun)
    writer = _begun_writer(store, plan)
    missing = writer.pending()
    if missing:
        raise RefreshError(_missing(writer, plan, missing, num_parts))
    built = built or plan.network.build()
    generation = store.publish(writer, class_neighbours(built.module, plan.network.num_classes))
    return RefreshReport(
        generation=generation,
        reused=False,
        num_rows_found=len(generation),
        seconds=time.perf_counter() - begun,
    )


def _begun_writer(store: SaliencyStore, plan: RefreshPlan) -> GenerationWriter:
    number = begun_number(store, plan)
    if number is not None:
        return GenerationWriter.attach(plan.cache, number, fsync=plan.options.fsync)
    others = "; ".join(
        f"unfinished generation {number} differs in {plan_differences(begun, plan.generation)}"
        for number, begun in store.unfinished().items()
    )
    raise RefreshError(
        f"no part of this plan has begun in cache {plan.cache}"
        + (f"; {others}: give --finalize the options of the parts" if others else "")
    )


def plan_differences(there: GenerationPlan, here: GenerationPlan) -> str:
    """Name the fields in which two plans differ, with both values."""
    theirs, ours = (_flat(plan.as_dict()) for plan in (there, here))
    return ", ".join(
        f"{name} ({theirs.get(name)!r} there, {ours.get(name)!r} here)"
        for name in ours
        if theirs.get(name) != ours.get(name)
    )


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields["provenance"], **{k: v for k, v in fields.items() if k != "provenance"}}


def _missing(
    writer: GenerationWriter, plan: RefreshPlan, missing: tuple[int, ...], num_parts: int | None
) -> str:
    what = f"blocks {_ranges(missing)}"
    cure = "run the parts that are missing"
    if num_parts is not None:
        parts = sorted({block % num_parts + 1 for block in missing})
        named = ", ".join(str(Part(index, num_parts)) for index in parts)
        what = f"part{'s' * (len(parts) > 1)} {named} ({what})"
        cure = "run " + ("them" if len(parts) > 1 else "it") + " again"
    return (
        f"generation {writer.number} of cache {plan.cache} can't be published: {len(missing)} of "
        f"{writer.num_blocks} blocks are missing, {what}: {cure}, then --finalize"
    )


def _ranges(numbers: tuple[int, ...]) -> str:
    """Write 1, 2, 3, 7 as '1-3, 7'."""
    spans = []
    for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        spans.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
    return ", ".join(spans)
