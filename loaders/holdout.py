"""Part of the training images kept out of training, to choose settings by."""

import numpy as np
from numpy.typing import NDArray

from loaders.errors import OptionError


def holdout_rows(
    labels: NDArray[np.int64], share: float, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows class by class.

    Args:
        labels: (N,) class of every sample.
        share: Share of each class to keep out, in (0, 1); of a class with 2 samples or more it is
            at least one and not all, of a class with 1 sample none.
        seed: Decides which, at least 0.

    Returns:
        The rows to train on and those kept out, each in ascending order.

    Raises:
        OptionError: If the share is outside its range, or no class has 2 samples.
    """
    if not 0 < share < 1:
        raise OptionError(f"share to keep out must be in (0, 1), got {share}")
    rng = np.random.Generator(np.random.Philox(seed))
    out = [np.zeros(0, np.int64)]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        wanted = max(1, round(share * len(members)))
        out.append(members[: min(wanted, len(members) - 1)])
    held = np.sort(np.concatenate(out))
    if len(held) == 0:
        raise OptionError("no class has 2 samples, so none can be kept out")
    return np.setdiff1d(np.arange(len(labels)), held), held
