"""Long-tailed subsets, drawn as LDAM-DRW draws them, so that results compare with published ones.

The exponential profile has n_k = n_max * (1 / imbalance)^(k / (K - 1)) images of class k, in the
order of the class numbers; `imbalance` is the papers' rho.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loaders.errors import OptionError

__all__ = ["long_tail_counts", "long_tail_rows"]


def long_tail_counts(num_classes: int, n_max: int, imbalance: float) -> NDArray[np.int64]:
    """Return the number of images of each class, (K,) int64, falling from `n_max`.

    Args:
        num_classes: Number of classes K, 1 or more.
        n_max: Number of images of class 0, 1 or more.
        imbalance: Largest count divided by the smallest, 1 or more; 1 = balanced.

    Raises:
        OptionError: If an argument is outside its range.
    """
    if num_classes < 1 or n_max < 1:
        raise OptionError(
            f"num_classes and n_max must be 1 or more, got num_classes={num_classes} n_max={n_max}"
        )
    if not (math.isfinite(imbalance) and imbalance >= 1):
        raise OptionError(f"imbalance must be a number >= 1 (1 = balanced), got {imbalance}")
    # Python floats in this very order of operations: the truncation depends on the last bit.
    steps = max(num_classes - 1.0, 1.0)
    counts = [int(n_max * ((1 / imbalance) ** (k / steps))) for k in range(num_classes)]
    return np.array(counts, np.int64)


def long_tail_rows(
    labels: ArrayLike, imbalance: float, seed: int = 0, *, num_classes: int | None = None
) -> NDArray[np.int64]:
    """Return the rows of the long-tailed subset, class by class in ascending order.

    Args:
        labels: (N,) integers >= 0, in the order of the full data set.
        imbalance: See `long_tail_counts`; n_max is the size of the largest class.
        seed: Seed of the choice; published subsets use 0.
        num_classes: Number of classes K; None = the largest label + 1.

    Returns:
        (n,) int64 rows of `labels`. A class with fewer images than its share keeps all.

    Raises:
        OptionError: If an argument is outside its range.
    """
    labels_N = np.asarray(labels, np.int64)
    counts = np.bincount(labels_N, minlength=num_classes or 0)
    shares = long_tail_counts(len(counts), int(counts.max(initial=0)), imbalance)
    if not 0 <= seed < 2**32:
        raise OptionError(f"subset_seed must be in [0, 2**32), got {seed}")
    # The legacy generator is what the published subsets were drawn with.
    generator = np.random.RandomState(seed)
    chosen = []
    for k, share in enumerate(shares):
        rows = np.flatnonzero(labels_N == k)
        generator.shuffle(rows)
        chosen.append(rows[:share])
    return np.concatenate(chosen)
