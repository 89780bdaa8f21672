"""Partners within classes: for MixUp of tail samples (Eq. 8), and for controls with wrong maps.

Legend: N samples, M anchors (samples to be mixed), K classes.
"""

import numpy as np
from numpy.typing import NDArray

from loaders.randomness import Uniforms

PERMUTATION_PURPOSE = 0x5CAF
"""Sets this permutation apart from other uses of NumPy's Philox with the same seed."""


class PartnerTable:
    """All samples by class, as two arrays.

    Args:
        labels: (N,) int64 class of every sample.
        num_classes: K.
    """

    def __init__(self, labels: NDArray[np.int64], num_classes: int) -> None:
        self._labels_N = labels
        self._by_class_N = np.argsort(labels, kind="stable")
        self._counts_K = np.bincount(labels, minlength=num_classes)
        self._starts_K = np.concatenate(([0], np.cumsum(self._counts_K)[:-1]))
        self._rank_N = np.empty(len(labels), np.int64)
        self._rank_N[self._by_class_N] = (
            np.arange(len(labels)) - self._starts_K[labels[self._by_class_N]]
        )

    def draw(
        self,
        anchors_M: NDArray[np.int64],
        rng: Uniforms,
        neighbours_K5: NDArray[np.int32] | None = None,
    ) -> NDArray[np.int64]:
        """Return one partner a row, never the anchor itself.

        Args:
            anchors_M: (M,) rows of the data set, of classes with at least 2 samples.
            rng: Gives uniform numbers, two a row.
            neighbours_K5: (K, 5) nearest classes, -1 for none; the partner's class is then drawn
                uniformly among the anchor's own and these. None: the anchor's own.

        Returns:
            (M,) int64 rows.
        """
        uniforms_M2 = rng.random((len(anchors_M), 2))
        own_M = self._labels_N[anchors_M]
        class_M = own_M
        if neighbours_K5 is not None:
            class_M = self._neighbour(own_M, uniforms_M2[:, 0], neighbours_K5)
        same_M = class_M == own_M
        # Within the anchor's class there is one place less: the anchor's, which is stepped over.
        places_M = self._counts_K[class_M] - same_M
        rank_M = (uniforms_M2[:, 1] * places_M).astype(np.int64)
        rank_M += same_M & (rank_M >= self._rank_N[anchors_M])
        return self._by_class_N[self._starts_K[class_M] + rank_M]

    def _neighbour(
        self,
        own_M: NDArray[np.int64],
        uniform_M: NDArray[np.float64],
        neighbours_K5: NDArray[np.int32],
    ) -> NDArray[np.int64]:
        own_K1 = np.arange(len(neighbours_K5))[:, None]
        choices: NDArray[np.int64] = np.concatenate((own_K1, neighbours_K5), axis=1)
        usable = (choices >= 0) & (self._counts_K[np.maximum(choices, 0)] > 0)
        order = np.argsort(~usable, axis=1, kind="stable")
        packed = np.take_along_axis(choices, order, axis=1)
        slot_M = (uniform_M * usable.sum(1)[own_M]).astype(np.int64)
        return packed[own_M, slot_M].astype(np.int64)


def permuted_within_classes(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return for every sample another one of its class, each taken once; a lone one gets itself.

    The classes are shuffled and then turned by one place, so that no sample of a class of two or
    more keeps its own place.

    Args:
        labels: (N,) int64 class of every sample.
        seed: The run's seed, at least 0.

    Returns:
        (N,) int64 rows, a permutation.
    """
    entropy = np.random.SeedSequence([seed, PERMUTATION_PURPOSE])
    shuffled_N = np.random.Generator(np.random.Philox(entropy)).permutation(len(labels))
    by_class_N = shuffled_N[np.argsort(labels[shuffled_N], kind="stable")]
    counts_K = np.bincount(labels)
    ends_K = np.cumsum(counts_K)
    following_N = np.arange(1, len(labels) + 1)
    present_K = counts_K > 0
    following_N[ends_K[present_K] - 1] = (ends_K - counts_K)[present_K]
    rows_N = np.empty(len(labels), np.int64)
    rows_N[by_class_N] = by_class_N[following_N]
    return rows_N
