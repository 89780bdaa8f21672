"""The exponential moving average of a network in training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def weight_average(network: nn.Module, decay: float) -> AveragedModel | None:
    """Return the average that takes `decay` of itself and 1 - `decay` of the network at each step.

    It begins with the weights after the first step. BatchNorm's running statistics are averaged as
    weights are: the network's own ones, of newer weights, would not fit it.

    Args:
        network: The network in training.
        decay: In [0, 1); 0 for no average.
    """
    if not decay:
        return None
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)


@contextmanager
def averaged(network: nn.Module, average: AveragedModel) -> Iterator[None]:
    """Give the network its average's weights in the context, and its own afterwards."""
    own = {name: value.clone() for name, value in network.state_dict().items()}
    take_average(network, average)
    try:
        yield
    finally:
        network.load_state_dict(own)


@torch.no_grad()
def take_average(network: nn.Module, average: AveragedModel) -> None:
    """Give the network its average's weights for good."""
    network.load_state_dict(average.module.state_dict())
