"""Focal loss over sigmoids (Lin et al. 2017, Eq. 4 without alpha), as the class-balanced loss uses.

Legend: B samples, K classes.
"""

from torch import Tensor, nn
from torch.nn import functional


class Focal(nn.Module):
    """Sum over classes of (1 - p_t)^gamma (-log p_t), p_t the probability of the right yes or no.

    The modulating factor is computed from the cross entropy, exp(gamma log(1 - p_t)), and never as
    a power of 1 - p_t, whose gradient is not a number where a sigmoid saturates and gamma < 1.

    Args:
        gamma: 0 or more; 0 is binary cross entropy.
    """

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        """Return (B,) losses of (B, K) logits and (B,) integer labels."""
        right_BK = functional.one_hot(labels_B, logits_BK.shape[1]).to(logits_BK.dtype)
        signed_BK = logits_BK * (2 * right_BK - 1)
        # log p_t = -softplus(-z) and log(1 - p_t) = -softplus(z), z the logit of the right answer.
        losses_BK = functional.softplus(-signed_BK)
        factors_BK = (-self.gamma * functional.softplus(signed_BK)).exp()
        return (factors_BK * losses_BK).sum(1)
