"""Class-aware sampling of the second stages (classifier-balancing's and MiSLAS's samplers).

Legend: N samples of the data set, M samples of an epoch, K classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, slots=True)
class ClassAware:
    """Goes round the classes in random order and takes some samples in a row of each.

    Classes, and the samples of each class, are shuffled anew whenever all have had their turn. So a
    class fills about N / K places of an epoch of N, whatever its size. Unlike the original
    iterators, which go on over epochs, each epoch begins anew: it is a function of its key alone.
    """

    labels: NDArray[np.int64]
    """(N,) class of every sample."""

    in_a_row: int = 4
    """Samples that a class drawn gives."""

    @property
    def name(self) -> str:
        """What the order is, with its settings."""
        return f"class aware, {self.in_a_row} in a row"

    def __len__(self) -> int:
        return len(self.labels)

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the epoch's rows of the data set, (N,) int64; rows of small classes repeat."""
        classes = np.unique(self.labels)
        num_turns = -(-len(self) // self.in_a_row)
        turns_M = _rounds(rng, classes, num_turns)
        rows = np.empty((num_turns, self.in_a_row), np.int64)
        for label in classes:
            mine = turns_M == label
            members = np.flatnonzero(self.labels == label)
            taken = _rounds(rng, members, int(mine.sum()) * self.in_a_row)
            rows[mine] = taken.reshape(-1, self.in_a_row)
        return rows.reshape(-1)[: len(self)]


def _rounds(rng: np.random.Generator, values: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return `count` values: all of them in random order, then again in another one."""
    rounds = [rng.permutation(values) for _ in range(-(-count // len(values)))]
    return np.concatenate([*rounds, values[:0]])[:count]
