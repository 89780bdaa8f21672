"""Logit adjustment (Menon et al. 2021, Eq. 10); tau = 1 is balanced softmax (Ren et al. 2020).

Legend: B samples, K classes.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional


class LogitAdjustment(nn.Module):
    """Cross entropy of `logits + tau log n_k`; the network is evaluated without the addend.

    Frequencies instead of counts would add the same constant to all logits, which softmax ignores.

    Args:
        class_counts: (K,) training images of each class; one without any is taken to have one.
        tau: Strength.
    """

    log_counts: Tensor

    def __init__(self, class_counts: NDArray[np.int64], tau: float = 1.0) -> None:
        super().__init__()
        log_counts_K = np.log(np.maximum(class_counts, 1))
        self.register_buffer("log_counts", torch.from_numpy(log_counts_K).float())
        self.tau = tau

    def forward(self, logits_BK: Tensor, labels: Tensor) -> Tensor:
        """Return (B,) losses of (B, K) logits; labels (B,) integers or (B, K) shares."""
        adjusted_BK = logits_BK + self.tau * self.log_counts
        return functional.cross_entropy(adjusted_BK, labels, reduction="none")
