"""Which samples an epoch delivers and in what order: uniform, by class, or several times each.

Every order is drawn over the whole epoch, before it is cut into batches and ranks, so neither their
number nor their size changes it.

Legend: N samples of the data set, M samples of an epoch, K classes, n_k samples of class k.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from loaders.checks import check_word
from loaders.errors import OptionError

SamplerName = Literal["shuffle", "sequential", "class_balanced", "square_root", "repeated"]
"""Orders that `build_loader` knows by name."""


class SampleOrder(Protocol):
    """What `EpochBatches` asks of an order; write your own by these three."""

    @property
    def name(self) -> str:
        """What the order is, with its settings: a resumed loader must have the same."""

    def __len__(self) -> int:
        """Return the number M of samples an epoch delivers."""

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the epoch's rows of the data set, (M,) int64; a row may occur several times."""


@dataclass(frozen=True, slots=True)
class Shuffle:
    """Each sample once, in random order."""

    num_samples: int
    """N."""

    @property
    def name(self) -> str:
        """What the order is."""
        return "shuffle"

    def __len__(self) -> int:
        return self.num_samples

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return a permutation, (N,) int64."""
        return rng.permutation(self.num_samples)


@dataclass(frozen=True, slots=True)
class Sequential:
    """Each sample once, in the data set's order."""

    num_samples: int
    """N."""

    @property
    def name(self) -> str:
        """What the order is."""
        return "sequential"

    def __len__(self) -> int:
        return self.num_samples

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return 0 .. N-1, (N,) int64."""
        del rng
        return np.arange(self.num_samples)


@dataclass(frozen=True, eq=False, slots=True)
class ByClass:
    """N samples of which class k makes up a share in proportion to n_k ** power.

    Power 0 is class-balanced sampling, 1/2 is square-root sampling (Kang et al., "Decoupling
    representation and classifier", 2020), 1 delivers each sample once. A class gets its share of
    the epoch to within one sample, exactly so on average over epochs; within a class all samples
    come equally often, to within one: less noise than drawing with replacement.

    Raises:
        OptionError: If the power is no finite number.
    """

    labels: NDArray[np.int64]
    """(N,) class of every sample."""

    power: float
    """Exponent of n_k."""

    def __post_init__(self) -> None:
        if not np.isfinite(self.power):
            raise OptionError(f"power of class sampling must be finite, got {self.power}")

    @property
    def name(self) -> str:
        """What the order is."""
        return f"by class, power {self.power:g}"

    def __len__(self) -> int:
        return len(self.labels)

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the epoch's rows, (N,) int64."""
        sizes_K = np.bincount(self.labels)
        counts_K = self._counts(sizes_K, rng)
        mixed_N = rng.permutation(len(self.labels))
        by_class_N = mixed_N[np.argsort(self.labels[mixed_N], kind="stable")]
        class_M = np.repeat(np.arange(len(sizes_K)), counts_K)
        place_M = np.arange(len(class_M)) - np.repeat(np.cumsum(counts_K) - counts_K, counts_K)
        first_K = np.cumsum(sizes_K) - sizes_K
        rows_M = by_class_N[first_K[class_M] + place_M % sizes_K[class_M]]
        return rows_M[rng.permutation(len(rows_M))]

    def _counts(self, sizes_K: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Return how many samples each class gets: (K,) int64 with sum N (systematic sampling)."""
        present = np.flatnonzero(sizes_K)
        present = present[rng.permutation(len(present))]
        weights = sizes_K[present].astype(np.float64) ** self.power
        ends = np.cumsum(weights)
        ends *= len(self.labels) / ends[-1]
        ends[-1] = len(self.labels)
        marks = np.floor(np.concatenate(([0.0], ends)) + rng.random()).astype(np.int64)
        counts_K = np.zeros(len(sizes_K), np.int64)
        counts_K[present] = np.diff(marks)
        return counts_K


@dataclass(frozen=True, slots=True)
class Repeated:
    """Repeated augmentation: N / repeats samples, each `repeats` times with other draws.

    As DeiT's RASampler an epoch has N samples in all, and copies of a sample follow one another, so
    that they go to different ranks; on one rank they share a batch (Hoffer et al., "Augment your
    batch", 2020).

    Raises:
        OptionError: If repeats is below 1.
    """

    num_samples: int
    """N."""

    repeats: int = 3
    """How often a sample is delivered."""

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise OptionError(f"repeats must be at least 1, got {self.repeats}")

    @property
    def name(self) -> str:
        """What the order is."""
        return f"repeated {self.repeats} times"

    def __len__(self) -> int:
        return self.num_samples

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the epoch's rows, (N,) int64; the last sample may come less often."""
        distinct = -(-self.num_samples // self.repeats)
        chosen = rng.permutation(self.num_samples)[:distinct]
        return np.repeat(chosen, self.repeats)[: self.num_samples]


def sample_order(name: SamplerName, labels: NDArray[np.int64], repeats: int = 3) -> SampleOrder:
    """Return the order of a name.

    Args:
        name: One of `SamplerName`.
        labels: (N,) class of every sample.
        repeats: How often "repeated" delivers a sample.

    Raises:
        OptionError: If the name or the number is not allowed.
    """
    check_word("sampler", name, get_args(SamplerName))
    num = len(labels)
    makers: dict[str, Callable[[], SampleOrder]] = {
        "shuffle": lambda: Shuffle(num),
        "sequential": lambda: Sequential(num),
        "class_balanced": lambda: ByClass(labels, 0.0),
        "square_root": lambda: ByClass(labels, 0.5),
        "repeated": lambda: Repeated(num, repeats),
    }
    return makers[name]()


def occurrences(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each entry's row came before it: (M,) int64, zeros if none repeats."""
    draws_M = np.zeros(len(rows), np.int64)
    if len(rows) == 0 or np.bincount(rows).max() == 1:
        return draws_M
    order_M = np.argsort(rows, kind="stable")
    new_M = np.diff(rows[order_M], prepend=-1) != 0
    first_M = np.maximum.accumulate(np.where(new_M, np.arange(len(rows)), 0))
    draws_M[order_M] = np.arange(len(rows)) - first_M
    return draws_M
