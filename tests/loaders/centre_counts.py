"""Counting drawn centres, and Eq. 4 at every pixel to compare the counts with."""

import numpy as np
from numpy.typing import NDArray

from loaders.centres import sample_centres
from loaders.view import View
from loaders.view_batch import ViewBatch

Floats = NDArray[np.float64]

NUM_DRAWS = 200_000
CHUNK = 20_000


def normalised(values: Floats) -> Floats:
    return (values - values.min()) / (values.max() - values.min())


def eq4(saliency_HW: Floats, lam: float) -> Floats:
    weights_HW = np.exp(lam * (saliency_HW - saliency_HW.max()))
    probabilities: Floats = weights_HW / weights_HW.sum()
    return probabilities


def counted(
    map_hw: NDArray[np.uint8],
    size: tuple[int, int],
    lam: float,
    *,
    view: View | None = None,
    seed: int = 0,
    num_draws: int = NUM_DRAWS,
    gains: NDArray[np.float32] | None = None,
    floors: NDArray[np.float32] | None = None,
) -> Floats:
    """Return how often each output pixel was drawn: (H, W)."""
    counts = np.zeros(size)
    rng = np.random.default_rng(seed)
    for _ in range(num_draws // CHUNK):
        maps = np.broadcast_to(map_hw, (CHUNK, *map_hw.shape))
        views = None if view is None else ViewBatch.stack([view] * CHUNK)
        drawn = sample_centres(maps, size, lam, rng, views=views, gains=gains, floors=floors)
        np.add.at(counts, (drawn[:, 0], drawn[:, 1]), 1)
    return counts
