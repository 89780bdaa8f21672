"""One epoch of training: the step loop and what it counts.

Legend: B samples of a batch, S side of the network's input.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from loaders.batches import Batch
from loaders.policy import Event
from pipeline.errors import Stopped, TrainingError
from pipeline.training.setup import RunParts
from pipeline.training.stage import Stage

StepProgress = Callable[[int, int], None]
"""Called with the steps done and the steps of the epoch."""


@dataclass(slots=True)
class EpochCounts:
    """Sums over an epoch's batches."""

    samples: int = 0
    loss: float = 0.0
    right: float = 0.0
    erased: int = 0
    mixed: int = 0
    unguided: int = 0
    erased_pixels: int = 0
    seconds: float = 0.0
    """Wall time of the loop."""
    seconds_wait: float = 0.0
    """Part of it spent waiting for the loader."""

    def add(self, batch: Batch, loss: float, right: float) -> None:
        """Count one batch; `loss` is its mean, `right` its number of hits."""
        num = len(batch.events)
        self.samples += num
        self.loss += loss * num
        self.right += right
        self.erased += int((batch.events == Event.ERASE).sum())
        self.mixed += int((batch.events == Event.MIXUP).sum())
        self.unguided += int(batch.unguided.sum())
        sides = batch.boxes[:, 2:] - batch.boxes[:, :2]
        self.erased_pixels += int(sides.prod(1).sum())

    def as_row(self, num_pixels: int) -> dict[str, float]:
        """Return the columns of metrics.csv that an epoch's loop knows."""
        num = max(1, self.samples)
        return {
            "train_loss": self.loss / num,
            "train_top1": self.right / num,
            "erased": self.erased / num,
            "mixed": self.mixed / num,
            "unguided": self.unguided / max(1, self.erased),
            "erased_pixels": self.erased_pixels / (num * num_pixels),
            "images_per_second": self.samples / self.seconds if self.seconds else 0.0,
            "seconds_train": self.seconds,
            "seconds_wait": self.seconds_wait,
        }


def train_epoch(
    parts: RunParts, stage: Stage, epoch: int, progress: StepProgress, stop: Callable[[], bool]
) -> EpochCounts:
    """Train on every batch of one epoch; stage and loader must be set to that epoch.

    Args:
        parts: The run's parts.
        stage: Whom to train and how; network and optimiser are changed.
        epoch: 0-based epoch.
        progress: Called after each step.
        stop: Asked before each step whether to stop.

    Raises:
        Stopped: If `stop` said so.
        TrainingError: If the loss is not finite.
    """
    counts = EpochCounts()
    num_steps = len(stage.loader)
    begun = time.perf_counter()
    batches = iter(stage.loader)
    for step in range(num_steps):
        if stop():
            raise Stopped(
                f"stopped in epoch {epoch}: go on from the last checkpoint with the same command "
                "and --resume"
            )
        asked = time.perf_counter()
        batch = next(batches)
        counts.seconds_wait += time.perf_counter() - asked
        loss, right = _step(parts, stage, batch, epoch)
        if not torch.isfinite(loss):
            raise TrainingError(_not_finite(parts, batch, epoch, step))
        counts.add(batch, float(loss), right)
        progress(step + 1, num_steps)
    counts.seconds = time.perf_counter() - begun
    return counts


def _step(parts: RunParts, stage: Stage, batch: Batch, epoch: int) -> tuple[Tensor, float]:
    moved = batch.to(parts.device)
    with torch.autocast(parts.device.type, torch.bfloat16, enabled=parts.bf16):
        logits = stage.logits(moved.images.contiguous(memory_format=torch.channels_last))
    loss = stage.objective(logits.float(), moved.labels, epoch)
    stage.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    stage.optimizer.step()
    labels = moved.labels.argmax(1) if moved.labels.ndim == 2 else moved.labels
    return loss.detach(), float((logits.detach().argmax(1) == labels).sum())


def _not_finite(parts: RunParts, batch: Batch, epoch: int, step: int) -> str:
    names = ", ".join(parts.train_data.describe(int(index)) for index in batch.indices[:5])
    return (
        f"loss is not finite in epoch {epoch}, step {step} (samples {names}, ...): "
        "lower train.lr, or set train.precision to fp32"
    )
