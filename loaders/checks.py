"""Checks of option values that several modules share."""

import math
from collections.abc import Sequence

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
