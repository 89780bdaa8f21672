from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cache_store.errors import CacheFormatError, CacheMismatchError
from cache_store.identity import Identity, require_same_depth
from cache_store.store import SaliencyStore

if TYPE_CHECKING:
    from pathlib import Path

IDS = np.array([50, 7, 99, 3], np.uint64)
CONTENTS = np.array([1, 2, 3, 4], np.uint32)


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
