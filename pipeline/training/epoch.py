"""One epoch of training: the step loop and what it counts.

Legend: B samples of a batch, S side of the network's input.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loaders.batches import Batch
from loaders.methods.keep_augment import KeepAugment
from pipeline.training.epoch_sums import EpochSums
from pipeline.training.harvest import Harvest
from pipeline.training.keep_salient import keep_salient
from pipeline.training.pauses import Pauses
from pipeline.training.ranks import ALONE, Ranks
from pipeline.training.setup import RunParts
from pipeline.training.stage import Stage

NAMED = 5
"""Up to this many samples of a batch are named where its loss is not finite."""

StepProgress = Callable[[int, int], None]
"""Called with the batches done and the batches of the epoch."""


def train_epoch(
    parts: RunParts,
    stage: Stage,
    epoch: int,
    sums: EpochSums,
    pauses: Pauses,
    progress: StepProgress,
    harvest: Harvest | None = None,
) -> None:
    """Train on the batches of one epoch that are left; stage and loader must be set to it.

    Args:
        parts: The run's parts.
        stage: Whom to train and how; network and optimiser are changed.
        epoch: 0-based epoch.
        sums: What this rank has summed of the epoch before; grows.
        pauses: Asked at every step whether to go on.
        progress: Called after each batch.
        harvest: Takes the maps of the steps; None for nobody.

    Raises:
        Stopped: If `pauses` said so.
        TrainingError: If the loss is not finite.
    """
    batches, accumulate = stage.loader.batches, parts.recipe.train.accumulate
    num_batches = len(batches)
    shares = batch_shares(batches.bounds, accumulate, parts.ranks)
    problem: str | None = None
    for number, batch in enumerate(stage.loader, batches.start_step):
        done = number + 1
        at_step = done % accumulate == 0 or done == num_batches
        with stage.gradients(shared=at_step):
            with nullcontext() if harvest is None else harvest.listening():
                logits, labels = _forward(parts, stage, batch, epoch)
            if harvest is not None:
                taken = partial(harvest.take, batch, logits)
                sums.time_harvest(taken)
            loss, right = _loss(stage, logits, labels, epoch)
            if problem is None and not torch.isfinite(loss):
                problem = _not_finite(parts, batch, epoch, number)
            (loss * shares[number]).backward()  # type: ignore[no-untyped-call]
        sums.add(len(batch.indices), float(loss.detach()), right)
        progress(done, num_batches)
        if at_step:
            pauses.before_update(problem)
            stage.update()
            pauses.after_update(f"in epoch {epoch} after batch {done} of {num_batches}")


def batch_shares(bounds: NDArray[np.int64], accumulate: int, ranks: Ranks = ALONE) -> list[float]:
    """Return what to multiply each batch's mean loss by, so that a step follows its samples' mean.

    That is the share of this rank's part of a batch in the samples of its step, times the number of
    ranks, whose gradients are averaged; 1.0 for a batch alone.

    Args:
        bounds: Where each batch of an epoch begins, over all ranks, and where the last one ends.
        accumulate: Batches a step; the epoch's last step takes those that are left.
        ranks: This process's place among those that share each batch.
    """
    sizes = np.diff(bounds)
    starts = np.arange(0, len(sizes), accumulate)
    totals = np.repeat(np.add.reduceat(sizes, starts), np.diff([*starts, len(sizes)]))
    mine = (sizes - ranks.rank + ranks.size - 1) // ranks.size
    shares: list[float] = (mine * ranks.size / totals).tolist()
    return shares


def _forward(parts: RunParts, stage: Stage, batch: Batch, epoch: int) -> tuple[Tensor, Tensor]:
    """Return logits and labels of a batch, on the run's device."""
    moved = batch.to(parts.device)
    method = stage.loader.dataset.method
    if isinstance(method, KeepAugment) and not method.needs_maps:
        moved = keep_salient(method, stage.network, moved, epoch=epoch, seed=parts.recipe.seed)
    with torch.autocast(parts.device.type, torch.bfloat16, enabled=parts.bf16):
        logits = stage.logits(moved.images.contiguous(memory_format=torch.channels_last))
    return logits, moved.labels


def _loss(stage: Stage, logits: Tensor, labels: Tensor, epoch: int) -> tuple[Tensor, float | None]:
    """Return the loss of a batch, and how many answers are right."""
    loss: Tensor = stage.objective(logits.float(), labels, epoch)
    if labels.ndim == 2:
        return loss, None  # an image of several classes has no right answer to count
    return loss, float((logits.detach().argmax(1) == labels).sum())


def _not_finite(parts: RunParts, batch: Batch, epoch: int, step: int) -> str:
    rows = [int(index) for index in batch.indices]
    names = ", ".join(f"row {row}: {parts.train_data.describe(row)}" for row in rows[:NAMED])
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return (
        f"loss is not finite in epoch {epoch}, batch {step} ({names}{more}): lower train.lr, set "
        "train.precision to fp32, or look at these samples"
    )
