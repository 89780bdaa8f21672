"""The last layer of a classifier: the one that turns features into a value for each class."""

import torch
from torch import nn

from pipeline.saliency.cifar_resnet import NormedLinear

__all__ = ["find_head"]


def find_head(network: nn.Module, num_classes: int) -> tuple[str, nn.Module] | None:
    """Return the dotted name and module of the last layer with one row of weights a class.

    Args:
        network: The classifier, unwrapped.
        num_classes: K.

    Returns:
        A `Linear`, `NormedLinear` or 1x1 `Conv2d`; None if the network has no such layer.
    """
    found = None
    for name, module in network.named_modules():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, torch.Tensor) or weight.shape[:1] != (num_classes,):
            continue
        if isinstance(module, nn.Linear | NormedLinear) or (
            isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
        ):
            found = (name, module)
    return found
