from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.refresh.blocks import Block, cut_batches, cut_blocks


@given(st.integers(1, 5000), st.integers(1, 700), st.integers(1, 300))
def test_every_row_is_in_exactly_one_batch_of_one_block(num: int, rows: int, batch: int) -> None:
    blocks = cut_blocks(num, rows)
    assert [block.number for block in blocks] == list(range(len(blocks)))
    seen = [row for block in blocks for part in cut_batches(block, batch) for row in part]
    assert seen == list(range(num))
    assert all(block.start % rows == 0 and len(block) <= rows for block in blocks)


def test_batches_do_not_reach_into_the_next_block() -> None:
    assert cut_batches(Block(1, 8, 13), 3) == (range(8, 11), range(11, 13))


@pytest.mark.parametrize(("num", "rows"), [(0, 8), (8, 0)])
def test_nothing_to_cut_is_refused(num: int, rows: int) -> None:
    with pytest.raises(ValueError, match=f"got {num} and {rows}"):
        cut_blocks(num, rows)
