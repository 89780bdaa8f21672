"""How lines for people say numbers."""


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: 1 epoch, 4 epochs."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
