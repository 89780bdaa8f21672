"""Label-aware smoothing: frequent classes, which networks are too sure of, are smoothed more.

Zhong et al. 2021 (MiSLAS), in the form of their code: the mass goes to all K classes, the true one
included, and grows from tail to head along a sine ("concave").

Legend: B samples, K classes.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional


def smoothing_by_class(
    class_counts: NDArray[np.int64], head: float, tail: float
) -> NDArray[np.float64]:
    """Return eps_k = tail + (head - tail) sin(pi (n_k - n_min) / (2 (n_max - n_min))), (K,).

    Args:
        class_counts: (K,) training images n_k; the largest must differ from the smallest.
        head: eps of the largest class.
        tail: eps of the smallest class.
    """
    low, high = int(class_counts.min()), int(class_counts.max())
    share_K = (class_counts - low) / (high - low)
    return tail + (head - tail) * np.sin(np.pi / 2 * share_K)


class LabelAwareSmoothing(nn.Module):
    """(1 - eps_y) (-log p_y) + eps_y times the mean of -log p_k over all classes.

    Args:
        smoothing_K: (K,) eps of each class, see `smoothing_by_class`.
    """

    smoothing: Tensor

    def __init__(self, smoothing_K: NDArray[np.float64]) -> None:
        super().__init__()
        self.register_buffer("smoothing", torch.from_numpy(smoothing_K).float())

    def forward(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        """Return (B,) losses of (B, K) logits and (B,) integer labels."""
        surprise_BK = -functional.log_softmax(logits_BK, dim=1)
        smoothing_B = self.smoothing[labels_B]
        right_B = surprise_BK.gather(1, labels_B[:, None])[:, 0]
        return (1 - smoothing_B) * right_B + smoothing_B * surprise_BK.mean(1)
