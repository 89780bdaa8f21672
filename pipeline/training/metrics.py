"""Accuracy, overall and by how many training images a class has, and calibration.

Legend: N images, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from loaders.decode import read_resized
from loaders.image_data import ImageData
from pipeline.errors import Stopped
from pipeline.saliency.networks import BuiltNetwork

NUM_BINS = 15
"""Bins of equal width for the calibration error, as in MiSLAS."""
BELOW_ONE = 1 - 2.0**-24
"""The largest float32 below 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Accuracy on a data set; shares in [0, 1]."""

    loss: float
    """Mean cross entropy."""
    top1: float
    """Share of images whose most likely class is right."""
    top5: float | None
    """Share with the right class among the five most likely, None for 5 classes or fewer."""
    balanced: float
    """Balanced accuracy: mean of the classes' own, those without images left out."""
    ece: float
    """Expected calibration error: mean distance of confidence and accuracy over 15 bins."""
    per_class: tuple[float, ...]
    """Top-1 by class, nan for classes without images."""
    confused: tuple[tuple[int, float] | None, ...]
    """By class the wrong class that most of its images are taken for, and their share in [0, 1];
    None where there is none."""

    def group(self, chosen_K: NDArray[np.bool_]) -> float | None:
        """Return the mean of the chosen classes' accuracies, None if there is none."""
        values = np.asarray(self.per_class)[chosen_K]
        values = values[~np.isnan(values)]
        return float(values.mean()) if len(values) else None


@torch.inference_mode()
def predict(
    network: nn.Module,
    built: BuiltNetwork,
    data: ImageData,
    *,
    size: int,
    device: torch.device,
    bf16: bool,
    batch_size: int = 256,
    rows: range | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Tensor:
    """Return the (N, K) float32 logits, on the CPU, of whole images squashed to size x size.

    Args:
        network: The classifier; left in train or eval mode as found.
        built: Says how images are normalised.
        data: Images and labels.
        size: Side of the network's input in pixels.
        device: Where to run.
        bf16: Whether to run under bfloat16 autocast.
        batch_size: Images a forward pass.
        rows: Which images, one after another; None for all.
        stop: Asked before each forward pass whether to stop.

    Raises:
        Stopped: If `stop` said so.
    """
    rows = range(len(data)) if rows is None else rows
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    parts = []
    try:
        for start in range(0, len(rows), batch_size):
            if stop():
                raise Stopped(
                    "stopped while accuracy was measured: go on with the same command and --resume"
                )
            images = read_normalised(data, rows[start : start + batch_size], built, size, device)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                parts.append(network(images).float().cpu())
    finally:
        for module, training in modes:
            module.training = training
    return torch.cat(parts) if parts else torch.empty(0)


def read_normalised(
    data: ImageData, rows: range, built: BuiltNetwork, size: int, device: torch.device
) -> Tensor:
    """Return whole images as the network wants them, (B, 3, size, size) float32 on a device."""
    mean = torch.tensor(built.mean, device=device).view(1, -1, 1, 1) * 255
    std = torch.tensor(built.std, device=device).view(1, -1, 1, 1) * 255
    return (read_resized(data, rows, size, 2).to(device).float() - mean) / std


def score(logits_NK: Tensor, labels: NDArray[np.int64]) -> Evaluation:
    """Measure logits against labels.

    Args:
        logits_NK: (N, K) logits, N >= 1.
        labels: (N,) classes.
    """
    # Slow to import, and only training needs it.
    from torchmetrics.functional import classification as measures

    num_classes = logits_NK.shape[1]
    labels_N = torch.from_numpy(labels.copy())
    counted = partial(
        measures.multiclass_stat_scores, logits_NK, labels_N, num_classes, validate_args=False
    )
    hits_K, support_K = (counted(average="none")[:, column].double() for column in (0, 4))
    per_class_K = (hits_K / support_K).numpy()  # nan where there are no images
    # torchmetrics counts a confidence of exactly 1 in a bin of its own beyond the last one
    # (https://github.com/Lightning-AI/torchmetrics/issues/3510).
    shares_NK = logits_NK.softmax(1).clamp(max=BELOW_ONE)
    ece = measures.multiclass_calibration_error(
        shares_NK, labels_N, num_classes, n_bins=NUM_BINS, norm="l1", validate_args=False
    )
    return Evaluation(
        loss=float(nn.functional.cross_entropy(logits_NK, labels_N)),
        top1=float(hits_K.sum()) / len(labels),
        top5=int(counted(average="micro", top_k=5)[0]) / len(labels) if num_classes > 5 else None,
        balanced=float(np.nanmean(per_class_K)),
        ece=float(ece),
        per_class=tuple(per_class_K.tolist()),
        confused=_confused(logits_NK.argmax(1).numpy(), labels, num_classes),
    )


def _confused(
    predicted_N: NDArray[np.int64], labels_N: NDArray[np.int64], num_classes: int
) -> tuple[tuple[int, float] | None, ...]:
    """Return `Evaluation.confused`; of equally many, the first wrong class."""
    wrong_N = predicted_N != labels_N
    # Not all pairs of classes: with 21,000 that would be a table of gigabytes.
    pairs_P, counts_P = np.unique(
        labels_N[wrong_N] * num_classes + predicted_N[wrong_N], return_counts=True
    )
    support_K = np.bincount(labels_N, minlength=num_classes)
    found: list[tuple[int, float] | None] = [None] * num_classes
    for place in np.lexsort((-pairs_P, counts_P)):  # a class's commonest pair comes last
        label, other = divmod(int(pairs_P[place]), num_classes)
        found[label] = (other, float(counts_P[place] / support_K[label]))
    return tuple(found)
