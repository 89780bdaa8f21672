"""The folder of a run: resolved recipe, metrics, checkpoints, maps, report; every file whole."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
import torch
from torch import nn

from pipeline.errors import RecipeError
from pipeline.refresh.whole_file import write_whole
from pipeline.training.accounts import shares
from pipeline.training.recipe import Recipe

METRIC_COLUMNS = (
    "epoch", "stage", "lr", "lam", "generation", "train_loss", "train_top1", "test_loss",
    "test_top1", "test_top5", "test_balanced", "test_ece", "test_many", "test_medium", "test_few",
    "erased", "mixed", "unguided", "centre_saliency", "erased_pixels", "erased_pixels_many",
    "erased_pixels_medium", "erased_pixels_few", "images_per_second", "seconds_train",
    "seconds_wait", "seconds_method", "seconds_harvest", "seconds_refresh", "seconds_evaluate",
    "share_wait", "share_method", "share_refresh", "refresh", "map_distance", "adopted",
)  # fmt: skip
"""Columns of metrics.csv, one row an epoch. `seconds_refresh` is the time that training stood still
for maps, `map_distance` what an adaptive refresh measured, `adopted` the epoch whose weights' maps
the next epoch begins with, where it begins with other ones."""

Row = dict[str, Any]


class RunFolder:
    """Paths and files of one run.

    Args:
        path: The folder; made if it is not there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe_path = self.path / "recipe.toml"
        self.metrics_path = self.path / "metrics.csv"
        self.summary_path = self.path / "summary.json"
        self.weights_path = self.path / "weights.pt"
        self.report_path = self.path / "report.html"
        self.log_path = self.path / "log.jsonl"
        self.tensor_board = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.refreshing = self.path / "refreshing"
        self.cache = self.path / "maps.zarr"

    def make(self) -> None:
        """Make the folders.

        Raises:
            RecipeError: If that is not possible.
        """
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecipeError(
                f"can't make run folder {self.path}: {error.strerror}; name another --run"
            ) from error

    def checkpoint_path(self, epoch: int) -> Path:
        """Return the path of the checkpoint after an epoch."""
        return self.checkpoints / f"epoch-{epoch:04d}.pt"

    @property
    def lock_path(self) -> Path:
        """Path of the lock of the process that trains here."""
        return self.path / "run.lock"

    @property
    def holds_a_run(self) -> bool:
        """Whether a run has left a checkpoint here."""
        return bool(self.checkpoint_paths()) or self.middle_path.is_file()

    @property
    def middle_path(self) -> Path:
        """Path of the checkpoint in the middle of an epoch."""
        return self.checkpoints / "middle.pt"

    def checkpoint_paths(self) -> list[Path]:
        """Return the checkpoints there, oldest first."""
        return sorted(self.checkpoints.glob("epoch-*.pt"))

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the resolved recipe."""
        write_whole(self.recipe_path, tomli_w.dumps(recipe.as_dict()).encode())

    def write_metrics(self, rows: Sequence[Row]) -> None:
        """Write metrics.csv anew: small, and so never out of step with the checkpoint."""
        text = io.StringIO()
        writer = csv.DictWriter(text, METRIC_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, **shares(row)} for row in rows)
        write_whole(self.metrics_path, text.getvalue().encode())

    def metrics(self) -> list[dict[str, str]]:
        """Return the rows of metrics.csv as texts; none if there is no file.

        Raises:
            RecipeError: If it can't be read.
        """
        if not self.metrics_path.is_file():
            return []
        try:
            with self.metrics_path.open(newline="") as file:
                return list(csv.DictReader(file))
        except (OSError, ValueError, csv.Error) as error:
            raise self._unreadable(error) from error

    def seconds_refresh(self, epoch: int) -> float:
        """Return what metrics.csv tells of a refresh by an earlier process, 0 if it tells nothing.

        Args:
            epoch: 0-based epoch that it came after.

        Raises:
            RecipeError: If it can't be read.
        """
        try:
            rows = {row["epoch"]: row for row in self.metrics()}
            return float(rows.get(str(epoch), {}).get("seconds_refresh") or 0.0)
        except (ValueError, KeyError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> RecipeError:
        return RecipeError(
            f"can't read {self.metrics_path}: {error}; remove it, it is written anew from the "
            "checkpoint"
        )

    def write_weights(self, network: nn.Module) -> None:
        """Write the final weights, where they differ from the last checkpoint's."""
        buffer = io.BytesIO()
        torch.save(network.state_dict(), buffer)
        write_whole(self.weights_path, buffer.getvalue())

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the figures of a finished run."""
        write_whole(self.summary_path, (json.dumps(summary, indent=2) + "\n").encode())
