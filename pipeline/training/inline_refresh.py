"""New maps from a training checkpoint while training waits, by the very code of `scae refresh`."""

import time
from collections.abc import Callable
from pathlib import Path

from cache_store.store import SaliencyStore
from pipeline.refresh.job import RefreshReport, execute
from pipeline.refresh.part import Part
from pipeline.refresh.parts import execute_part, finalize
from pipeline.refresh.plan import RefreshPlan
from pipeline.refresh.progress import Progress, RefreshProgress
from pipeline.saliency.networks import BuiltNetwork
from pipeline.training.refresh_step import plan_from_checkpoint, present_network
from pipeline.training.setup import RunParts


def refresh_from_checkpoint(
    parts: RunParts,
    checkpoint: Path,
    epoch: int,
    *,
    progress: Callable[[int, int], None],
    stop: Callable[[], bool],
) -> RefreshReport:
    """Make the maps of all training images with the weights after an epoch.

    Args:
        parts: The run's parts; the network holds the checkpoint's weights.
        checkpoint: File with those weights, for other processes.
        epoch: 0-based epoch that is done.
        progress: Called after each block with the images done and the images in all.
        stop: Asked between batches whether to stop.

    Raises:
        Stopped: If `stop` said so; blocks that are done stay done.
    """
    network = present_network(parts)
    plan = plan_from_checkpoint(parts, checkpoint, epoch, network)

    def showing(state: RefreshProgress) -> None:
        progress(state.rows_done, state.rows_total)

    if parts.ranks.size > 1:
        return _by_ranks(parts, plan, network, showing, stop)
    return execute(plan, opened=parts.train_data, built=network, progress=showing, stop=stop)


def _by_ranks(
    parts: RunParts,
    plan: RefreshPlan,
    built: BuiltNetwork,
    progress: Progress,
    stop: Callable[[], bool],
) -> RefreshReport:
    """Let every rank compute its part of the blocks, and the first one publish them.

    On the first one the report tells of all ranks what they had found done.
    """
    begun = time.perf_counter()
    ranks = parts.ranks
    part = ranks.together(
        lambda: execute_part(
            plan,
            Part(ranks.rank + 1, ranks.size),
            opened=parts.train_data,
            built=built,
            progress=progress,
            stop=stop,
        )
    )
    found = sum(ranks.gathered(part.num_rows_found))
    number = ranks.from_first(lambda: finalize(plan, built=built).generation.number)
    generation = ranks.together(lambda: SaliencyStore.open(parts.cache).generation(number))
    return RefreshReport(
        generation=generation,
        reused=False,
        num_rows_found=found,
        seconds=time.perf_counter() - begun,
    )
