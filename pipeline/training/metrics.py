"""Accuracy, overall and by how many training images a class has.

Legend: N images, K classes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from loaders.decode import read_resized
from loaders.image_data import ImageData
from pipeline.saliency.networks import BuiltNetwork


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Accuracy on a data set; shares in [0, 1]."""

    loss: float
    """Mean cross entropy."""
    top1: float
    """Share of images whose most likely class is right."""
    top5: float | None
    """Share with the right class among the five most likely, None for 5 classes or fewer."""
    per_class: tuple[float, ...]
    """Top-1 by class, nan for classes without images."""

    def group(self, chosen_K: NDArray[np.bool_]) -> float | None:
        """Return the mean of the chosen classes' accuracies, None if there is none."""
        values = np.asarray(self.per_class)[chosen_K]
        values = values[~np.isnan(values)]
        return float(values.mean()) if len(values) else None


@torch.inference_mode()
def evaluate(
    network: nn.Module,
    built: BuiltNetwork,
    data: ImageData,
    *,
    size: int,
    device: torch.device,
    bf16: bool,
    batch_size: int = 256,
) -> Evaluation:
    """Measure a network on whole images squashed to size x size.

    Args:
        network: The classifier; left in train or eval mode as found.
        built: Says how images are normalised.
        data: Images and labels.
        size: Side of the network's input in pixels.
        device: Where to run.
        bf16: Whether to run under bfloat16 autocast.
        batch_size: Images a forward pass.
    """
    was_training = network.training
    network.eval()
    mean = torch.tensor(built.mean, device=device).view(1, -1, 1, 1) * 255
    std = torch.tensor(built.std, device=device).view(1, -1, 1, 1) * 255
    parts = []
    try:
        for start in range(0, len(data), batch_size):
            rows = range(start, min(start + batch_size, len(data)))
            images = (read_resized(data, rows, size, 2).to(device).float() - mean) / std
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                parts.append(network(images).float().cpu())
    finally:
        network.train(was_training)
    return _score(torch.cat(parts), torch.from_numpy(data.labels.copy()), data.num_classes)


def _score(logits_NK: torch.Tensor, labels_N: torch.Tensor, num_classes: int) -> Evaluation:
    right_N = (logits_NK.argmax(1) == labels_N).double()
    counts_K = torch.bincount(labels_N, minlength=num_classes)
    hits_K = torch.bincount(labels_N, weights=right_N, minlength=num_classes)
    top5 = None
    if num_classes > 5:
        best_N5 = logits_NK.topk(5, dim=1).indices
        top5 = float((best_N5 == labels_N[:, None]).any(1).double().mean())
    return Evaluation(
        loss=float(nn.functional.cross_entropy(logits_NK, labels_N)),
        top1=float(right_N.mean()),
        top5=top5,
        per_class=tuple((hits_K / counts_K).tolist()),
    )
