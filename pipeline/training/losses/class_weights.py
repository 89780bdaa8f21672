"""Class weights by the effective number of images (Cui et al. 2019, class-balanced loss).

Legend: K classes.
"""

import numpy as np
from numpy.typing import NDArray


def class_balanced_weights(class_counts: NDArray[np.int64], beta: float) -> NDArray[np.float64]:
    """Return w_k ~ (1 - b) / (1 - b^n_k), scaled so that they sum to the number of classes.

    Args:
        class_counts: (K,) training images n_k of each class.
        beta: b in [0, 1); 0 weighs all classes alike, towards 1 it is the inverse frequency.

    Returns:
        (K,) float64; 0 for a class without images, which is left out of the sum as well.
    """
    present_K = class_counts > 0
    weights_K = np.zeros(len(class_counts))
    weights_K[present_K] = (1 - beta) / (1 - beta ** class_counts[present_K].astype(np.float64))
    return weights_K * (present_K.sum() / weights_K.sum())
