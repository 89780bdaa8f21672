"""Cutting rows into blocks: arithmetic only, no engine and no data."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that one task computes and writes as one shard."""

    number: int
    """Number of the block, which is the number of its shard."""
    start: int
    """First row."""
    stop: int
    """Row after the last."""

    def __len__(self) -> int:
        return self.stop - self.start


def cut_blocks(num_samples: int, block_rows: int) -> tuple[Block, ...]:
    """Cut rows 0 .. num_samples - 1 so that each belongs to exactly one block.

    Raises:
        ValueError: If either number is below 1.
    """
    if num_samples < 1 or block_rows < 1:
        raise ValueError(
            f"num_samples and block_rows must be 1 or more, got {num_samples} and {block_rows}"
        )
    starts = range(0, num_samples, block_rows)
    return tuple(
        Block(number, start, min(start + block_rows, num_samples))
        for number, start in enumerate(starts)
    )


def cut_batches(block: Block, batch_size: int) -> tuple[range, ...]:
    """Cut a block's rows into the batches of a forward pass; the cut belongs to the plan."""
    return tuple(
        range(start, min(start + batch_size, block.stop))
        for start in range(block.start, block.stop, batch_size)
    )
