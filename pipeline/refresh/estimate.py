"""How long a refresh will take, by timing a batch or two of it; writes nothing.

Legend: B rows of a batch.
"""

import time
import uuid
from dataclasses import dataclass, replace

from cache_store.errors import CacheNotFoundError
from cache_store.store import SaliencyStore
from cache_store.writer import GenerationWriter
from loaders.image_data import ImageData
from pipeline.refresh.blocks import Block
from pipeline.refresh.job import begun_number, latest_of_plan, open_or_create
from pipeline.refresh.plan import RefreshPlan
from pipeline.refresh.runner import BlockRunner
from pipeline.saliency.networks import BuiltNetwork

ENOUGH_SECONDS = 2.0
"""A first batch that takes this long is not timed again without its warming up."""
LONG_BLOCK_SECONDS = 60.0
"""A block should not take longer: a stop, or a worker that is lost, costs as much."""
BLOCK_ROWS = (16, 32, 64, 128, 256, 512, 768, 1024)
"""Sizes that may be proposed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshEstimate:
    """What a timed batch says about the whole."""

    images_per_second: float
    """Speed of this process, with all its cores."""
    seconds: float
    """Time of the missing blocks."""
    block_seconds: float
    """Time of one block in one of those processes."""
    better_block_rows: int | None
    """A `block_rows` with shorter blocks, None if they are short enough or can't be shorter."""


def missing_blocks(plan: RefreshPlan) -> tuple[Block, ...]:
    """Return the blocks that a refresh would compute now, none if there is nothing to do.

    Raises:
        CacheMismatchError: If the cache was made for other data.
    """
    try:
        store = SaliencyStore.open(plan.cache)
    except CacheNotFoundError:
        return plan.blocks
    generation = plan.generation
    store.identity.require(
        replace(
            store.identity,
            data=generation.provenance.data,
            num_samples=generation.num_samples,
            fingerprint=generation.provenance.fingerprint,
        ),
        store.url,
    )
    if latest_of_plan(store, plan) is not None:
        return ()
    number = begun_number(store, plan)
    if number is None:
        return plan.blocks
    pending = set(GenerationWriter.attach(plan.cache, number).pending())
    return tuple(block for block in plan.blocks if block.number in pending)


def estimate_refresh(
    plan: RefreshPlan, data: ImageData, built: BuiltNetwork, *, rows: int, workers: int = 1
) -> RefreshEstimate:
    """Time a batch of real images through decoder and network.

    Args:
        plan: The plan.
        data: The data, open.
        built: The network, built.
        rows: Images that are still to be computed.
        workers: Processes that would share this machine's cores.

    Raises:
        ImageReadError: If an image of that batch can't be read.
        NetworkError: If the network gives no finite logits.
    """
    # A cache in this process's memory, gone with it: the real one may not exist yet.
    probe = replace(plan, cache=f"memory://probe-{uuid.uuid4().hex}")
    open_or_create(probe, data)
    batch = min(plan.generation.provenance.batch_size, len(data))
    middle = (len(data) - batch) // 2
    with BlockRunner(probe, data, built) as runner:
        seconds = _time_batch(runner, Block(0, 0, batch))
        if seconds < ENOUGH_SECONDS:
            seconds = _time_batch(runner, Block(0, middle, middle + batch))
    speed = batch / seconds
    # Processes share the cores that this one had for itself; each GPU has one process.
    own_gpus = plan.generation.provenance.device_type == "cuda"
    block_rows = min(plan.generation.block_rows, len(data))
    block_seconds = block_rows / speed * (1 if own_gpus else workers)
    return RefreshEstimate(
        images_per_second=speed,
        seconds=rows / speed / (workers if own_gpus else 1),
        block_seconds=block_seconds,
        better_block_rows=_better(block_rows, block_seconds),
    )


def _time_batch(runner: BlockRunner, block: Block) -> float:
    begun = time.perf_counter()
    runner.compute(block)
    return time.perf_counter() - begun


def _better(block_rows: int, block_seconds: float) -> int | None:
    if block_seconds <= LONG_BLOCK_SECONDS:
        return None
    affordable = block_rows * LONG_BLOCK_SECONDS / block_seconds
    fitting = [rows for rows in BLOCK_ROWS if rows <= affordable]
    best = max(fitting, default=BLOCK_ROWS[0])
    return best if best < block_rows else None
