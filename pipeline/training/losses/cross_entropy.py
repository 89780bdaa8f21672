"""Cross entropy, with labels smoothed if wanted (Szegedy et al. 2016, section 7).

Legend: B samples, K classes.
"""

from torch import Tensor, nn
from torch.nn import functional


class CrossEntropy(nn.Module):
    """-sum_k q_k log p_k with q = (1 - eps) label + eps / K; eps = 0 is plain cross entropy.

    Args:
        smoothing: eps in [0, 1).
        scale: Multiplies the logits, for networks whose logits are cosines.
    """

    def __init__(self, smoothing: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.scale = scale

    def forward(self, logits_BK: Tensor, labels: Tensor) -> Tensor:
        """Return (B,) losses of (B, K) logits; labels (B,) integers or (B, K) shares."""
        return functional.cross_entropy(
            self.scale * logits_BK, labels, reduction="none", label_smoothing=self.smoothing
        )
