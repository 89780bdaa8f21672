from __future__ import annotations

import logging

import numpy as np
import pytest

from cache_store.errors import CacheMismatchError
from cache_store.rows import match_rows

IDS = np.array([50, 7, 99, 3], np.uint64)
CONTENTS = np.array([1, 2, 3, 4], np.uint32)


def _match(
    ids: list[int],
    contents: list[int],
    *,
    accept_stale: bool = False,
    fingerprints: tuple[str, str] = ("", ""),
) -> list[int]:
    rows = match_rows(
        IDS,
        CONTENTS,
        np.array(ids, np.uint64),
        np.array(contents, np.uint64),
        place="/cache",
        cure="run 'scae refresh'",
        accept_stale=accept_stale,
        fingerprints=fingerprints,
        differences=lambda: "fingerprint ab there, cd here",
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


def test_accepted_stale_samples_are_counted_and_named_aloud(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "scae"):
        assert _match([99, 7, 50, 3], [0, 0, 0, 0], accept_stale=True) == [2, 1, 0, 3]
    (message,) = caplog.messages
    assert "4 of 4 images have changed since cache /cache was made" in message
    assert "sample 0, sample 1, sample 2 and 1 more" in message


def test_nothing_is_said_where_nothing_is_stale(caplog: pytest.LogCaptureFixture) -> None:
    assert _match([7], [2], accept_stale=True) == [1]
    assert caplog.messages == []


def test_unknown_samples_are_refused_even_if_stale_ones_are_accepted() -> None:
    with pytest.raises(CacheMismatchError, match="no row for 1 of the 2 samples"):
        _match([7, 8], [9, 9], accept_stale=True)


def test_only_the_low_half_of_a_content_id_is_compared() -> None:
    assert _match([7, 99], [2 + 2**32, 3 + 2**40]) == [1, 2]


def test_a_change_that_no_row_shows_is_told_by_the_fingerprint(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ids, contents, prints = [3, 99, 50, 7], [4, 3, 1, 2], ("ab", "cd")
    with pytest.raises(CacheMismatchError, match=r"data has changed since; fingerprint ab there"):
        _match(ids, contents, fingerprints=prints)
    with caplog.at_level(logging.WARNING, "scae"):
        assert _match(ids, contents, fingerprints=prints, accept_stale=True) == [3, 2, 0, 1]
    assert "the data has changed since" in caplog.messages[0]
    assert _match(ids, contents, fingerprints=("ab", "ab")) == [3, 2, 0, 1]


def test_a_subset_is_matched_whatever_its_fingerprint() -> None:
    assert _match([99, 7], [3, 2], fingerprints=("ab", "cd")) == [2, 1]
