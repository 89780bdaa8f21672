"""Which classes a network takes for alike, by the rows of its last layer.

Legend: K classes, C features.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cache_store.arrays import NUM_NEIGHBOURS


def class_neighbours(network: nn.Module, num_classes: int) -> NDArray[np.int32]:
    """Return each class's nearest classes by cosine of the last layer's weight rows.

    Args:
        network: The classifier; its last Linear or 1x1 convolution with K outputs is taken.
        num_classes: K.

    Returns:
        (K, 5) int32, nearest first, never the class itself; -1 where there are fewer classes, and
        everywhere if the network has no such layer.
    """
    neighbours_K5 = np.full((num_classes, NUM_NEIGHBOURS), -1, np.int32)
    rows_KC = _class_rows(network, num_classes)
    if rows_KC is None:
        return neighbours_K5
    unit_KC = nn.functional.normalize(rows_KC.detach().double().cpu(), dim=1)
    cosine_KK = unit_KC @ unit_KC.T
    cosine_KK.fill_diagonal_(-torch.inf)
    count = min(NUM_NEIGHBOURS, num_classes - 1)
    order_KK = torch.sort(cosine_KK, dim=1, descending=True, stable=True).indices
    neighbours_K5[:, :count] = order_KK[:, :count].numpy()
    return neighbours_K5


def _class_rows(network: nn.Module, num_classes: int) -> torch.Tensor | None:
    found = None
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, torch.Tensor) or weight.shape[:1] != (num_classes,):
            continue
        if isinstance(module, nn.Linear) or (
            isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
        ):
            found = weight.flatten(1)
    return found
