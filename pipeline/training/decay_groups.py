"""Which parameters weight decay pulls at."""

from typing import Any

from torch import nn


def decay_groups(network: nn.Module, *, everywhere: bool) -> list[dict[str, Any]]:
    """Return a network's parameters in groups for an optimiser.

    Args:
        network: The network.
        everywhere: One group, which has the optimiser's own weight decay. Else a second group with
            none: the parameters of one axis, which are weights of norm layers and biases (the usual
            rule of "Bag of tricks", He et al. 2019, and of timm).
    """
    parameters = list(network.parameters())
    if everywhere:
        return [{"params": parameters}]
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    free = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": free, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
