"""Checks of option values that several modules share."""

import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real

from loaders.errors import OptionError


def check_range(name: str, values: Sequence[float], *, limit: float = math.inf) -> None:
    """Raise OptionError unless `values` is (low, high), finite, with 0 < low <= high <= limit."""
    fits = len(values) == 2 and 0 < min(values) and values[0] <= values[1] <= limit
    if not fits or math.isinf(values[1]):
        bound = f" <= {limit:g}" if limit < math.inf else ""
        raise OptionError(f"{name} must be (low, high) with 0 < low <= high{bound}, got {values}")


def check_word(name: str, word: str, allowed: Sequence[str]) -> None:
    """Raise OptionError unless `word` is one of `allowed`."""
    if word not in allowed:
        raise OptionError(f"{name} must be one of {', '.join(allowed)}, got {word!r}")


def check_number(
    name: str, value: object, allowed: str, holds: Callable[[float], bool], *, whole: bool = False
) -> None:
    """Raise OptionError unless `value` is a finite number, whole if so asked, for which `holds`."""
    kind = Integral if whole else Real
    if isinstance(value, bool) or not isinstance(value, kind):
        raise OptionError(f"{name} must be {allowed}, got {value!r}")
    number = float(value)
    if not (math.isfinite(number) and holds(number)):
        raise OptionError(f"{name} must be {allowed}, got {value!r}")


def check_share(name: str, value: object) -> None:
    """Raise OptionError unless `value` is a number in [0, 1]."""
    check_number(name, value, "in [0, 1]", lambda number: 0 <= number <= 1)


def check_positive(name: str, value: object) -> None:
    """Raise OptionError unless `value` is a finite number above 0."""
    check_number(name, value, "above 0 and finite", lambda number: number > 0)


def check_count(name: str, value: object, least: int) -> None:
    """Raise OptionError unless `value` is a whole number of at least `least`."""
    allowed = f"a whole number of at least {least}"
    check_number(name, value, allowed, lambda number: number >= least, whole=True)


def check_fill(fill: float | Sequence[float]) -> None:
    """Raise OptionError unless `fill` is a finite number, or one a channel."""
    values = fill if isinstance(fill, Sequence) else (fill,)
    if not values or not all(isinstance(one, Real) and math.isfinite(one) for one in values):
        raise OptionError(f"fill must be finite, one value or one a channel, got {fill}")
