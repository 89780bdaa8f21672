"""One epoch of training: the step loop and what it counts.

Legend: B samples of a batch, S side of the network's input.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loaders.batches import Batch
from loaders.counters import EpochReport
from loaders.methods.keep_augment import KeepAugment
from pipeline.errors import Stopped, TrainingError
from pipeline.training.keep_salient import keep_salient
from pipeline.training.run_folder import Row
from pipeline.training.setup import RunParts
from pipeline.training.stage import Stage

NAMED = 5
"""Up to this many samples of a batch are named where its loss is not finite."""

StepProgress = Callable[[int, int], None]
"""Called with the steps done and the steps of the epoch."""


@dataclass(slots=True)
class EpochSums:
    """Sums over an epoch's samples."""

    samples: int = 0
    loss: float = 0.0
    right: float | None = 0.0

    def add(self, num: int, loss: float, right: float | None) -> None:
        """Count one batch of `num`; `loss` is its mean, `right` its number of hits, if known."""
        self.samples += num
        self.loss += loss * num
        self.right = None if self.right is None or right is None else self.right + right

    def as_row(self, seen: EpochReport) -> Row:
        """Return the columns of metrics.csv that an epoch's loop and its loader know."""
        num = max(1, self.samples)
        by_group = seen.erased_pixels_by_group
        return {
            "train_loss": self.loss / num,
            "train_top1": None if self.right is None else self.right / num,
            "erased": seen.erased / num,
            "mixed": seen.mixed / num,
            "unguided": seen.unguided / max(1, seen.erased),
            "centre_saliency": seen.saliency,
            "erased_pixels": seen.erased_pixels,
            **{f"erased_pixels_{group}": share for group, share in by_group.items()},
            "images_per_second": self.samples / seen.seconds if seen.seconds else 0.0,
            "seconds_train": seen.seconds,
            "seconds_wait": seen.seconds_wait,
        }


def train_epoch(
    parts: RunParts, stage: Stage, epoch: int, progress: StepProgress, stop: Callable[[], bool]
) -> Row:
    """Train on every batch of one epoch; stage and loader must be set to that epoch.

    Args:
        parts: The run's parts.
        stage: Whom to train and how; network and optimiser are changed.
        epoch: 0-based epoch.
        progress: Called after each step.
        stop: Asked before each step whether to stop.

    Returns:
        The columns of metrics.csv that come from training.

    Raises:
        Stopped: If `stop` said so.
        TrainingError: If the loss is not finite.
    """
    sums = EpochSums()
    num_batches = len(stage.loader)
    shares = batch_shares(stage.loader.batches.bounds, parts.recipe.train.accumulate)
    for step, batch in enumerate(stage.loader):
        if stop():
            raise Stopped(
                f"stopped in epoch {epoch}: go on from the last checkpoint with the same command "
                "and --resume"
            )
        loss, right = _forward(parts, stage, batch, epoch)
        if not torch.isfinite(loss):
            raise TrainingError(_not_finite(parts, batch, epoch, step))
        if step % parts.recipe.train.accumulate == 0:
            stage.optimizer.zero_grad(set_to_none=True)
        (loss * shares[step]).backward()  # type: ignore[no-untyped-call]
        if (step + 1) % parts.recipe.train.accumulate == 0 or step + 1 == num_batches:
            stage.update()
        sums.add(len(batch.indices), float(loss.detach()), right)
        progress(step + 1, num_batches)
    return sums.as_row(stage.loader.report())


def batch_shares(bounds: NDArray[np.int64], accumulate: int) -> list[float]:
    """Return the share that each batch has in the samples of its step, 1.0 for a batch alone.

    Args:
        bounds: Where each batch of an epoch begins, and where the last one ends.
        accumulate: Batches a step; the epoch's last step takes those that are left.
    """
    sizes = np.diff(bounds)
    starts = np.arange(0, len(sizes), accumulate)
    totals = np.repeat(np.add.reduceat(sizes, starts), np.diff([*starts, len(sizes)]))
    shares: list[float] = (sizes / totals).tolist()
    return shares


def _forward(
    parts: RunParts, stage: Stage, batch: Batch, epoch: int
) -> tuple[Tensor, float | None]:
    moved = batch.to(parts.device)
    method = stage.loader.dataset.method
    if isinstance(method, KeepAugment) and not method.needs_maps:
        moved = keep_salient(method, stage.network, moved, epoch=epoch, seed=parts.recipe.seed)
    with torch.autocast(parts.device.type, torch.bfloat16, enabled=parts.bf16):
        logits = stage.logits(moved.images.contiguous(memory_format=torch.channels_last))
    loss = stage.objective(logits.float(), moved.labels, epoch)
    if moved.labels.ndim == 2:
        return loss, None  # an image of several classes has no right answer to count
    return loss, float((logits.detach().argmax(1) == moved.labels).sum())


def _not_finite(parts: RunParts, batch: Batch, epoch: int, step: int) -> str:
    rows = [int(index) for index in batch.indices]
    names = ", ".join(f"row {row}: {parts.train_data.describe(row)}" for row in rows[:NAMED])
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return (
        f"loss is not finite in epoch {epoch}, batch {step} ({names}{more}): lower train.lr, set "
        "train.precision to fp32, or look at these samples"
    )
