"""Label-distribution-aware margin loss (Cao et al. 2019, Eq. 13).

Legend: B samples, K classes.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional


class Ldam(nn.Module):
    """Cross entropy of `s (cosine - margin of the label's class)`.

    Margins are ~ n_k^(-1/4), the smallest class has `max_margin`; classes without images, which
    are no sample's label, have none. The network's logits must be cosines (`NormedLinear`).

    Args:
        class_counts: (K,) training images n_k of each class.
        max_margin: Largest margin.
        scale: s.
    """

    margins: Tensor

    def __init__(self, class_counts: NDArray[np.int64], max_margin: float, scale: float) -> None:
        super().__init__()
        present_K = class_counts > 0
        margins_K = np.zeros(len(class_counts))
        margins_K[present_K] = class_counts[present_K] ** -0.25
        margins_K *= max_margin / margins_K.max()
        self.register_buffer("margins", torch.from_numpy(margins_K).float())
        self.scale = scale

    def forward(self, cosines_BK: Tensor, labels_B: Tensor) -> Tensor:
        """Return (B,) losses of (B, K) cosines and (B,) integer labels."""
        right_BK = functional.one_hot(labels_B, cosines_BK.shape[1]).to(cosines_BK.dtype)
        logits_BK = self.scale * (cosines_BK - right_BK * self.margins)
        return functional.cross_entropy(logits_BK, labels_B, reduction="none")
