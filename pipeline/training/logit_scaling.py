"""Learnable weight scaling (Kang et al. 2020, LWS): one factor a class on the logits.

The factor multiplies w_k x + b_k, bias included, so that it is the same as a head of w_k f_k and
b_k f_k: the network leaves a stage with the factors folded in, and needs nothing beside it.

Legend: B samples, K classes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class LogitScaling(nn.Module):
    """Factors of a head's logits, 1 at the start.

    Args:
        head: The network's last layer.
    """

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.factors_K = nn.Parameter(torch.ones_like(head.weight[:, 0]))
        # In a tuple: the head belongs to the network, and its parameters are counted there.
        self._head = (head,)

    def forward(self, logits_BK: Tensor) -> Tensor:
        """Return the scaled (B, K) logits."""
        return logits_BK * self.factors_K

    @contextmanager
    def folded(self) -> Iterator[None]:
        """Hold the head with the factors multiplied in, and put it back, to the bit."""
        plain = self._plain()
        self.fold()
        try:
            yield
        finally:
            self._head[0].load_state_dict(plain)

    @torch.no_grad()
    def fold(self) -> None:
        """Multiply the factors into the head."""
        for parameter in self._head[0].parameters():
            factors = self.factors_K.view(-1, *[1] * (parameter.ndim - 1))
            parameter.mul_(factors)

    def stage_state(self) -> dict[str, Tensor]:
        """Return the factors and the head without them."""
        plain = {f"head.{name}": tensor for name, tensor in self._plain().items()}
        return {"factors_K": self.factors_K.detach().clone(), **plain}

    @torch.no_grad()
    def load_stage_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `stage_state` returned."""
        self.factors_K.copy_(state["factors_K"])
        plain = {
            name.removeprefix("head."): tensor
            for name, tensor in state.items()
            if name.startswith("head.")
        }
        self._head[0].load_state_dict(plain)

    def _plain(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self._head[0].state_dict().items()}
