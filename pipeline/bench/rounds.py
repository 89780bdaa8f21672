"""Timing contenders in interleaved rounds, so that a machine's drift meets all of them alike."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import BenchError

__all__ = ["Spread", "interleaved", "ratios"]

MIN_ROUNDS = 3
"""Below this a median and its quartiles say nothing."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of a figure that was taken several times."""

    median: float
    """The middle value."""
    low: float
    """First quartile."""
    high: float
    """Third quartile."""

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise `values`, at least two."""
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(statistics.median(values), low, high)

    def text(self, decimals: int) -> str:
        """Return 'median (first to third quartile)'."""
        return f"{self.median:.{decimals}f} ({self.low:.{decimals}f} to {self.high:.{decimals}f})"


def interleaved(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Run every contender once a round and return the seconds each took, round by round.

    The order turns by one from round to round: none always runs after the same other.

    Args:
        contenders: Name -> what to time.
        rounds: Timed rounds, at least 3.
        warm_up: Rounds before them that are not kept.
        clock: Seconds from any origin.

    Raises:
        BenchError: If there are fewer than 3 rounds.
    """
    if rounds < MIN_ROUNDS:
        raise BenchError(f"rounds must be {MIN_ROUNDS} or more for quartiles, got {rounds}")
    names = list(contenders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-warm_up, rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            begun = clock()
            contenders[name]()
            if number >= 0:
                seconds[name].append(clock() - begun)
    return seconds


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Summarise the quotients round by round, which the machine's drift does not reach."""
    return Spread.of(
        [
            top / bottom if bottom else math.inf
            for top, bottom in zip(numerators, denominators, strict=True)
        ]
    )
