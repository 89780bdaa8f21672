"""When a sample is erased, when it is mixed, and how strongly saliency guides the erasing.

Eq. 5 to 8 of the paper. Its symbols: f_k relative frequency, p_k erasing probability, tau tail
threshold, beta MixUp probability of tail classes, mu ~ Beta(alpha, alpha) mixing ratio.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from loaders.beta import symmetric_beta
from loaders.checks import check_fill, check_range, check_word
from loaders.errors import DataError, OptionError
from loaders.randomness import Uniforms

# B samples, K classes.


class Event(IntEnum):
    """What happens to one sample."""

    NONE = 0
    ERASE = 1
    """Pixels are erased."""
    MIXUP = 2
    """Another image is blended in."""
    PASTE = 3
    """A rectangle of another image is pasted in."""
    KEEP = 4
    """The image is augmented, but for a rectangle that is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasingOptions:
    """What can be chosen about erasing, with the paper's values; a recipe's section holds these."""

    lambda_max: float = 2.0
    """Guidance strength at the end of Eq. 5; any finite number, below 0 spares salient regions."""

    p_min: float = 0.1
    """Erasing probability of a class without samples, in [0, p_max]."""

    p_max: float = 0.5
    """Erasing probability of the largest class, in [p_min, 1]."""

    gamma: float = 0.5
    """Exponent of Eq. 7, above 0."""

    tau: float = 0.1
    """Classes with f_k < tau are tail classes; in [0, 1], 0 makes none."""

    alpha: float = 0.4
    """Parameter of the mixing ratio's Beta distribution, above 0."""

    beta: float = 0.5
    """Probability that a tail sample is mixed, in [0, 1]."""

    area: tuple[float, float] = (0.02, 0.4)
    """Erased share of the image: uniform in this range, within (0, 1]."""

    aspect: tuple[float, float] = (0.3, 1 / 0.3)
    """Height over width of the rectangle: this range, above 0."""

    aspect_law: Literal["uniform", "log"] = "uniform"
    """Law of the aspect ratio: uniform as in Random Erasing, or uniform in its logarithm."""

    border: Literal["clip", "shift"] = "clip"
    """A rectangle over the border is cut there (the centre keeps Eq. 4), or moved inside."""

    fill: float | tuple[float, ...] = 0.0
    """Erased pixels after normalisation: one value, or one a channel."""

    partner: Literal["same", "neighbor"] = "same"
    """MixUp partner: of the same class, or of that or a neighbouring class (then soft labels)."""

    maps: Literal["own", "permuted", "mask"] = "own"
    """Map of an image: its own; that of another image of its class, or the true object's mask
    where the data has one, as controls of what saliency contributes."""

    tail_erase: Literal["p_k", "literal"] = "p_k"
    """An unmixed tail sample is erased with probability p_k, or always (literal Eq. 8)."""

    curriculum: bool = True
    """Lambda grows by Eq. 5; False: lambda_max from the first epoch."""

    class_aware: bool = True
    """Eq. 6 to 8 hold; False: every class is erased alike, nothing is mixed."""

    unaware_p: Literal["p_max", "mean"] = "p_max"
    """Erasing probability without class awareness: p_max, or the mean of p_k over the samples."""

    semantic: bool = True
    """Centres follow saliency; False: lambda is 0, centres are uniform."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaePolicy(ErasingOptions):
    """SCAE's options for one training set, and the decisions they lead to.

    Raises:
        OptionError: If an option is outside its range; the message names it.
    """

    num_epochs: int
    """T of Eq. 5, at least 1."""

    class_counts: Sequence[int]
    """n_k of Eq. 6: (K,) samples of each class in the training set as trained; kept as a tuple."""

    _erase: NDArray[np.float64] = field(init=False, repr=False, compare=False)
    _tail: NDArray[np.bool_] = field(init=False, repr=False, compare=False)
    _mixable: NDArray[np.bool_] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        # Recipes bring lists, data sets bring arrays.
        for name in ("area", "aspect", "fill", "class_counts"):
            value = getattr(self, name)
            if isinstance(value, Iterable):
                set_field(self, name, tuple(value))
        _check_options(self)
        set_field(self, "class_counts", tuple(int(count) for count in self.class_counts))
        frequency_K = self.relative_frequency
        spread = self.p_max - self.p_min
        erase_K = self.p_min + spread * frequency_K**self.gamma
        tail_K = frequency_K < self.tau
        if not self.class_aware:
            mean = float(np.average(erase_K, weights=self.class_counts))
            erase_K = np.full_like(erase_K, self.p_max if self.unaware_p == "p_max" else mean)
            tail_K = np.zeros_like(tail_K)
        set_field(self, "_erase", erase_K)
        set_field(self, "_tail", tail_K)
        # A class with one sample has no partner: it takes the erasing branch.
        set_field(self, "_mixable", tail_K & (np.array(self.class_counts) >= 2))

    @property
    def relative_frequency(self) -> NDArray[np.float64]:
        """f_k of Eq. 6, n_k over the largest n_k: (K,) float64 in [0, 1]."""
        counts_K = np.array(self.class_counts, dtype=np.float64)
        return counts_K / counts_K.max()

    @property
    def erase_probability(self) -> NDArray[np.float64]:
        """p_k of Eq. 7, or one value for all without class awareness: (K,) float64 in [0, 1]."""
        return self._erase.copy()

    @property
    def is_tail(self) -> NDArray[np.bool_]:
        """Whether f_k < tau, never without class awareness: (K,) bool."""
        return self._tail.copy()

    def lam(self, epoch: int) -> float:
        """Return lambda(t) of Eq. 5 for the 0-based epoch t.

        Raises:
            OptionError: If the epoch is outside [0, num_epochs).
        """
        if not 0 <= epoch < self.num_epochs:
            raise OptionError(f"epoch must be in [0, {self.num_epochs}), got {epoch}")
        if not self.semantic:
            return 0.0
        return self.lambda_max * epoch / self.num_epochs if self.curriculum else self.lambda_max

    def decide(self, labels: NDArray[np.integer], rng: Uniforms) -> NDArray[np.uint8]:
        """Return each sample's event (Eq. 8); erasing and mixing exclude each other.

        Args:
            labels: (B,) integer class of each sample.
            rng: Gives uniform numbers, two a row.

        Returns:
            (B,) uint8 values of `Event`.

        Raises:
            DataError: If a label is not a class of `class_counts`.
        """
        num_classes = len(self.class_counts)
        if len(labels) and not (labels.min() >= 0 and labels.max() < num_classes):
            raise DataError(
                f"labels must be in [0, {num_classes}), got {labels.min()} to {labels.max()}"
            )
        uniforms_B2 = rng.random((len(labels), 2))
        mixed_B = self._mixable[labels] & (uniforms_B2[:, 0] < self.beta)
        chance_B = self._erase[labels]
        if self.tail_erase == "literal":
            chance_B = np.where(self._tail[labels], 1.0, chance_B)
        events_B = (uniforms_B2[:, 1] < chance_B).astype(np.uint8)
        events_B[mixed_B] = Event.MIXUP
        return events_B

    def mixing_ratio(self, num: int, rng: Uniforms) -> NDArray[np.float64]:
        """Return mu ~ Beta(alpha, alpha) of Eq. 8: (num,) float64 in [0, 1], two numbers a row."""
        return symmetric_beta(self.alpha, num, rng)


def _check_options(policy: ScaePolicy) -> None:
    _check_numbers(policy)
    check_range("area", policy.area, limit=1.0)
    check_range("aspect", policy.aspect)
    check_word("aspect_law", policy.aspect_law, ("uniform", "log"))
    check_word("border", policy.border, ("clip", "shift"))
    check_word("partner", policy.partner, ("same", "neighbor"))
    check_word("tail_erase", policy.tail_erase, ("p_k", "literal"))
    check_word("maps", policy.maps, ("own", "permuted", "mask"))
    check_word("unaware_p", policy.unaware_p, ("p_max", "mean"))
    check_fill(policy.fill)
    counts = policy.class_counts
    if len(counts) == 0 or min(counts) < 0 or max(counts) < 1:
        raise OptionError(
            f"class_counts must hold counts of at least 0, one above 0, got {list(counts)[:10]}"
        )


def _check_numbers(policy: ScaePolicy) -> None:
    p_max = policy.p_max
    limits: dict[str, tuple[str, Callable[[float], bool]]] = {
        "num_epochs": (
            "a whole number of at least 1",
            lambda value: value >= 1 and value.is_integer(),
        ),
        "lambda_max": ("finite", math.isfinite),
        "p_max": ("in [0, 1]", lambda value: 0 <= value <= 1),
        "p_min": (f"in [0, p_max = {p_max}]", lambda value: 0 <= value <= p_max),
        "gamma": ("above 0 and finite", lambda value: 0 < value < math.inf),
        "tau": ("in [0, 1]", lambda value: 0 <= value <= 1),
        "alpha": ("above 0 and finite", lambda value: 0 < value < math.inf),
        "beta": ("in [0, 1]", lambda value: 0 <= value <= 1),
    }
    for name, (allowed, holds) in limits.items():
        value = getattr(policy, name)
        if not isinstance(value, Real) or not holds(float(value)):
            raise OptionError(f"{name} must be {allowed}, got {value!r}")
