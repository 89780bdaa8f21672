"""What a step minimises: one of the losses, with its class weights, as one number a batch.

Legend: B samples, K classes.
"""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.training.losses.class_weights import class_balanced_weights
from pipeline.training.losses.cross_entropy import CrossEntropy
from pipeline.training.losses.focal import Focal
from pipeline.training.losses.ldam import Ldam
from pipeline.training.losses.logit_adjustment import LogitAdjustment
from pipeline.training.losses.options import FOCAL, LossRecipe


class Objective(nn.Module):
    """The mean of a loss over a batch, weighted by class from some epoch on.

    A weighted sum is divided by the number of samples, as in the class-balanced loss's own code.
    PyTorch's `CrossEntropyLoss(weight)` divides by the sum of the weights in the batch, so that a
    batch of tail samples has the same step as one of head samples: `average="weights"` does that.

    Args:
        loss: Returns (B,) losses of (B, K) logits and labels.
        weights_K: (K,) weight of each class; None weighs all alike.
        weights_from: 0-based epoch from which on the weights hold.
        average: Divisor of a weighted sum.
    """

    weights: Tensor | None

    def __init__(
        self,
        loss: nn.Module,
        weights_K: NDArray[np.float64] | None = None,
        *,
        weights_from: int = 0,
        average: Literal["samples", "weights"] = "samples",
    ) -> None:
        super().__init__()
        self.loss = loss
        self.weights_from = weights_from
        self.average = average
        weights = None if weights_K is None else torch.from_numpy(weights_K).float()
        self.register_buffer("weights", weights)

    def forward(self, logits_BK: Tensor, labels: Tensor, epoch: int) -> Tensor:
        """Return the scalar to be minimised in a 0-based epoch."""
        losses_B: Tensor = self.loss(logits_BK, labels)
        if self.weights is None or epoch < self.weights_from:
            return losses_B.mean()
        weights_B = self.weights[labels]
        total = (weights_B * losses_B).sum()
        return total / (weights_B.sum() if self.average == "weights" else len(losses_B))


def build_objective(
    options: LossRecipe, class_counts: NDArray[np.int64], num_epochs: int
) -> Objective:
    """Return what a run's first stage minimises.

    Args:
        options: Section [loss].
        class_counts: (K,) training images of each class.
        num_epochs: T, which deferred weights begin by.
    """
    weights_K = None
    weights_from = options.reweight_from(num_epochs)
    if weights_from is not None:
        weights_K = class_balanced_weights(class_counts, options.cb_beta)
    return Objective(
        _loss(options, class_counts),
        weights_K,
        weights_from=weights_from or 0,
        average=options.average,
    )


def _loss(options: LossRecipe, class_counts: NDArray[np.int64]) -> nn.Module:
    if options.name in FOCAL:
        return Focal(options.gamma)
    if options.name == "ldam":
        return Ldam(class_counts, options.max_margin, options.scale)
    if options.name in ("balanced-softmax", "logit-adjustment"):
        return LogitAdjustment(class_counts, options.tau)
    return CrossEntropy(options.smoothing if options.name == "label-smoothing" else 0.0)
