from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cache_store.errors import CacheFormatError, CacheMismatchError
from cache_store.identity import Identity, match_rows, require_same_depth
from cache_store.store import SaliencyStore

if TYPE_CHECKING:
    from pathlib import Path

IDS = np.array([50, 7, 99, 3], np.uint64)
CONTENTS = np.array([1, 2, 3, 4], np.uint32)


def _match(ids: list[int], contents: list[int], *, accept_stale: bool = False) -> list[int]:
    rows = match_rows(
        IDS,
        CONTENTS,
        np.array(ids, np.uint64),
        np.array(contents, np.uint64),
        place="/cache",
        cure="run 'scae refresh'",
        accept_stale=accept_stale,
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


def test_depth_is_compared_only_where_both_are_known() -> None:
    require_same_depth("/cache", cache=None, data=True)
    require_same_depth("/cache", cache=True, data=None)
    require_same_depth("/cache", cache=True, data=True)
    require_same_depth("/cache", cache=False, data=False)


def test_identity_survives_the_roots_attributes() -> None:
    for deep in (None, False, True):
        identity = Identity(num_samples=3, fingerprint="ab", data="toy", deep=deep)
        root = json.dumps({"attributes": {"scae": identity.as_dict()}}).encode()
        assert Identity.decode(root, "/cache") == identity


@pytest.mark.parametrize("root", [b"", b"[]", b"{}", b'{"attributes": {"scae": {}}}'])
def test_other_groups_are_no_identity(root: bytes) -> None:
    with pytest.raises(CacheFormatError, match="/cache"):
        Identity.decode(root, "/cache")


def test_difference_names_the_fields_that_differ_alone() -> None:
    identity = Identity(num_samples=3, fingerprint="ab", data="toy")
    labels = np.array([0, 1, 1]), np.array([0, 1, 2, 2])
    found = identity.differences(data="toy", num_samples=4, fingerprint="cd", classes=labels)
    assert (
        found == "samples 3 there, 4 here, classes 2 there, 3 here, fingerprint ab there, cd here"
    )


def test_creating_a_deep_cache_where_a_shallow_one_is_names_the_flag(tmp_path: Path) -> None:
    def create(*, deep: bool) -> SaliencyStore:
        return SaliencyStore.create(
            tmp_path / "c",
            sample_ids=IDS,
            content_ids=CONTENTS.astype(np.uint64),
            labels=np.zeros(4, np.int64),
            fingerprint="a" * 64,
            data="toy",
            deep=deep,
        )

    create(deep=False)
    assert create(deep=False).identity.deep is False
    with pytest.raises(CacheMismatchError, match="made without --deep"):
        create(deep=True)
