"""A part of a refresh: every N-th block. Arithmetic only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pipeline.errors import RefreshError
from pipeline.refresh.blocks import Block


@dataclass(frozen=True, slots=True)
class Part:
    """Every `count`-th block, from block `index` - 1 on."""

    index: int
    """1-based."""
    count: int
    """Parts in all."""

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise RefreshError(f"part must be K/N with 1 <= K <= N, got {self.index}/{self.count}")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read 'K/N'.

        Raises:
            RefreshError: If that is not what it says.
        """
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal()):
            raise RefreshError(f"part must be K/N such as 3/20, got {text!r}")
        return cls(int(index), int(count))

    def of(self, blocks: Sequence[Block]) -> Sequence[Block]:
        """Return this part's blocks; it may have none if there are more parts than blocks."""
        return blocks[self.index - 1 :: self.count]
