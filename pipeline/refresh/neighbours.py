"""Which classes a network takes for alike, by the rows of its last layer.

Legend: K classes, C features.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cache_store.arrays import NUM_NEIGHBOURS
from pipeline.saliency.head import find_head


def class_neighbours(network: nn.Module, num_classes: int) -> NDArray[np.int32]:
    """Return each class's nearest classes by cosine of the last layer's weight rows.

    Args:
        network: The classifier; its head is found by `find_head`.
        num_classes: K.

    Returns:
        (K, 5) int32, nearest first, never the class itself; -1 where there are fewer classes, and
        everywhere if the network has no such layer.
    """
    neighbours_K5 = np.full((num_classes, NUM_NEIGHBOURS), -1, np.int32)
    head = find_head(network, num_classes)
    if head is None:
        return neighbours_K5
    rows_KC = head[1].get_parameter("weight").detach().flatten(1)
    unit_KC = nn.functional.normalize(rows_KC.double().cpu(), dim=1)
    cosine_KK = unit_KC @ unit_KC.T
    cosine_KK.fill_diagonal_(-torch.inf)
    count = min(NUM_NEIGHBOURS, num_classes - 1)
    order_KK = torch.sort(cosine_KK, dim=1, descending=True, stable=True).indices
    neighbours_K5[:, :count] = order_KK[:, :count].numpy()
    return neighbours_K5
