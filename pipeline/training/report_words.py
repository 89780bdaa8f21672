"""How a training report writes numbers."""

from collections.abc import Sequence

DASH = "\N{EN DASH}"
"""Stands for what was not measured."""


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as percent, set apart by a blank that does not break: 35.0 %."""
    return DASH if share is None else f"{share:.{digits}%}".replace("%", "\N{NO-BREAK SPACE}%")


def duration(seconds: float) -> str:
    """Return a time in the two units that say it best."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def ranges(numbers: Sequence[int]) -> str:
    """Return ascending whole numbers in short: 0 to 3, 7."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(
        str(part[0]) if len(part) == 1 else f"{part[0]} to {part[-1]}" for part in parts
    )
