from __future__ import annotations

import numpy as np
import pytest

from cache_store.errors import CacheMismatchError
from cache_store.identity import match_rows

IDS = np.array([50, 7, 99, 3], np.uint64)
CONTENTS = np.array([1, 2, 3, 4], np.uint64)


def _match(ids: list[int], contents: list[int]) -> list[int]:
    rows = match_rows(
        IDS,
        CONTENTS,
        np.array(ids, np.uint64),
        np.array(contents, np.uint64),
        place="/cache",
        cure="run 'scae refresh'",
    )
    return rows.tolist()


@pytest.mark.parametrize(
    ("ids", "contents", "rows"),
    [
        pytest.param([50, 7, 99, 3], [1, 2, 3, 4], [0, 1, 2, 3], id="same-order"),
        pytest.param([3, 99, 50, 7], [4, 3, 1, 2], [3, 2, 0, 1], id="other-order"),
        pytest.param([99], [3], [2], id="subset"),
    ],
)
def test_samples_find_their_own_rows(ids: list[int], contents: list[int], rows: list[int]) -> None:
    assert _match(ids, contents) == rows


@pytest.mark.parametrize("stranger", [0, 8, 1000])
def test_samples_without_a_row_are_counted(stranger: int) -> None:
    with pytest.raises(CacheMismatchError, match=r"no row for 1 of the 2 samples.*scae refresh"):
        _match([7, stranger], [2, 2])


def test_changed_images_are_counted() -> None:
    with pytest.raises(CacheMismatchError, match=r"1 of 2 images have changed.*sample 1"):
        _match([7, 99], [2, 33])
