"""Mean, spread and paired differences over seeds.

Student's quantile is computed here: it is the one function that would need scipy at run time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["CONFIDENCE", "PairedDifference", "Spread", "paired_difference", "spread", "t_quantile"]

CONFIDENCE = 0.95
"""Of the intervals of differences."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Figures of one row over its seeds."""

    count: int
    """Number of seeds n, at least 1."""
    mean: float
    """Their mean."""
    std: float | None
    """Standard deviation with n - 1 in the denominator; None for one seed."""


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """One row minus another, seed by seed."""

    count: int
    """Number of seeds n that both have, at least 1."""
    mean: float
    """Mean of the differences."""
    low: float | None
    """Lower end of Student's interval; None for one seed."""
    high: float | None
    """Upper end; None for one seed."""


def spread(values: Sequence[float]) -> Spread | None:
    """Return mean and standard deviation, None without values."""
    if not values:
        return None
    mean = math.fsum(values) / len(values)
    return Spread(len(values), mean, _std(values, mean))


def paired_difference(
    ours: Mapping[int, float], theirs: Mapping[int, float]
) -> PairedDifference | None:
    """Return the mean difference over common seeds with its 95 % interval, None without one.

    Runs of one seed share data order, initial weights and crops: what differs is the method, so
    the spread of the differences counts and not that of the two rows.

    Args:
        ours: Figure by seed.
        theirs: The other row's.
    """
    values = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    found = spread(values)
    if found is None:
        return None
    if found.std is None:
        return PairedDifference(1, found.mean, None, None)
    quantile = t_quantile((1 + CONFIDENCE) / 2, found.count - 1)
    half = quantile * found.std / math.sqrt(found.count)
    return PairedDifference(found.count, found.mean, found.mean - half, found.mean + half)


def t_quantile(probability: float, freedom: int) -> float:
    """Return the t with P(T <= t) = probability, by bisection to the last bits.

    Args:
        probability: In [0.5, 1).
        freedom: Degrees of freedom, at least 1.
    """
    low, high = 0.0, 1.0
    while _central(high, freedom) < 2 * probability - 1:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        if _central(middle, freedom) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return high


def _central(t: float, freedom: int) -> float:
    """Return P(|T| <= t), by the finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan2(t, math.sqrt(freedom))
    cosine, odd = math.cos(angle), freedom % 2
    term = total = (cosine if freedom > 1 else 0.0) if odd else 1.0
    for power in range(2 + odd, freedom, 2):
        term *= cosine * cosine * (power - 1) / power
        total += term
    total *= math.sin(angle)
    return (angle + total) * 2 / math.pi if odd else total


def _std(values: Sequence[float], mean: float) -> float | None:
    if len(values) < 2:
        return None
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
