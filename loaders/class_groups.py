"""Classes by how many training images they have: the three groups of long-tail papers."""

import numpy as np
from numpy.typing import NDArray

MANY_ABOVE = 100
"""Classes with more training images are 'many'."""
FEW_BELOW = 20
"""Classes with fewer training images are 'few'; the others are 'medium'."""
GROUPS = ("many", "medium", "few")
"""Names of the groups, the largest classes first."""


def class_groups(class_counts: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    """Return which classes are many, medium and few, (K,) bool each, by training images."""
    many_K, few_K = class_counts > MANY_ABOVE, class_counts < FEW_BELOW
    return dict(zip(GROUPS, (many_K, ~many_K & ~few_K, few_K), strict=True))
