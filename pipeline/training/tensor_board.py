"""A run's figures for TensorBoard, an epoch a step."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import TrainingError
from pipeline.training.run_log import BEGINNINGS

SECTIONS = {
    "loss": ("train_loss", "test_loss"),
    "accuracy": (
        "train_top1", "test_top1", "test_top5", "test_balanced", "test_ece", "test_many",
        "test_medium", "test_few",
    ),
    "augmentation": (
        "lam", "generation", "erased", "mixed", "unguided", "centre_saliency", "erased_pixels",
    ),
    "time": (
        "images_per_second", "share_wait", "share_method", "share_refresh", "seconds_train",
        "seconds_refresh", "seconds_evaluate",
    ),
    "schedule": ("lr", "stage"),
}  # fmt: skip
"""Heading -> columns of metrics.csv below it."""


class TensorBoard:
    """Writes the epochs' figures.

    Args:
        folder: Where TensorBoard's files go.

    Raises:
        TrainingError: If the package is missing.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TrainingError(
                "--tensorboard needs the package tensorboard, which is not installed: "
                "pip install scae[tensorboard]"
            ) from error
        self._folder = folder
        self._make = SummaryWriter
        self._writer: SummaryWriter | None = None

    def __str__(self) -> str:
        return str(self._folder)

    def write(self, event: str, text: str, fields: Mapping[str, Any]) -> None:
        """Write the figures of an epoch and of the refresh after it."""
        epoch = fields.get("epoch")
        if event in BEGINNINGS:
            # TensorBoard drops what an earlier process wrote of this epoch and of later ones.
            self._writer = self._make(str(self._folder), purge_step=epoch)
        if self._writer is None or event not in ("epoch", "refresh"):
            return
        for section, columns in SECTIONS.items():
            for name in columns:
                if fields.get(name) is not None:
                    self._writer.add_scalar(f"{section}/{name}", fields[name], epoch)
        self._writer.flush()

    def close(self) -> None:
        """Finish the files."""
        if self._writer is not None:
            self._writer.close()
