"""Collection removes old generations without a trace, and nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from cache_store.errors import CacheNotFoundError, DamagedCacheError, StoreError
from cache_store.layout import generation_key, manifest_key, plan_key, published_key
from cache_store.store import SaliencyStore
from tests.cache_store.store_files import age, keys, keys_of, root_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache_store.writer import GenerationPlan

    MakePlan = Callable[..., GenerationPlan]


def test_the_newest_stay_and_the_rest_goes_without_a_trace(store: SaliencyStore) -> None:
    before = sum((root_of(store) / key).stat().st_size for key in keys(store))
    report = store.gc(keep=2, grace_seconds=0)
    assert report.generations == (1, 2)
    assert report.held == {3: "among the newest 2", 4: "latest"}
    assert store.generations() == (3, 4)
    assert keys_of(store, 1) == keys_of(store, 2) == []
    after = sum((root_of(store) / key).stat().st_size for key in keys(store))
    # The mark in the plan, written in between, is a few bytes more.
    assert abs(before - after - report.freed_bytes) < 100
    for number in (3, 4):
        assert store.generation(number).verify().ok


def test_a_dry_run_lists_the_same_and_changes_nothing(store: SaliencyStore) -> None:
    before = {key: (root_of(store) / key).read_bytes() for key in keys(store)}
    planned = store.gc(keep=1, dry_run=True, grace_seconds=0)
    assert {key: (root_of(store) / key).read_bytes() for key in keys(store)} == before
    done = store.gc(keep=1, grace_seconds=0)
    assert (planned.dry_run, done.dry_run) == (True, False)
    assert planned.removed == done.removed
    assert (planned.generations, planned.held) == (done.generations, done.held)


@pytest.mark.parametrize(
    ("keep", "grace", "text"),
    [(0, 0.0, "keep must be at least 1 .* got 0"), (1, -1.0, "grace_seconds .* got 1 and -1")],
)
def test_bad_arguments_are_refused(
    store: SaliencyStore, keep: int, grace: float, text: str
) -> None:
    with pytest.raises(StoreError, match=text):
        store.gc(keep=keep, grace_seconds=grace)
    assert len(store.generations()) == 4


def test_a_store_opened_to_read_is_not_collected(store: SaliencyStore) -> None:
    with pytest.raises(StoreError, match="mode='r\\+'"):
        SaliencyStore.open(store.url).gc()


def test_what_was_the_latest_a_moment_ago_stays_for_the_grace(store: SaliencyStore) -> None:
    age(store, 1000)
    path = root_of(store) / published_key(4)  # so generation 3 was the latest until 500 s ago
    os.utime(path, (path.stat().st_mtime + 500,) * 2)
    report = store.gc(keep=1, grace_seconds=600)
    assert report.generations == (1, 2)
    assert report.held == {3: "younger than grace", 4: "latest"}
    assert store.gc(keep=1, grace_seconds=400).generations == (3,)


def test_data_without_any_record_is_collected(store: SaliencyStore) -> None:
    stray = root_of(store) / generation_key(2) / "saliency" / "zarr.json"
    store.gc(keep=1, grace_seconds=0)
    stray.parent.mkdir(parents=True)
    stray.write_text("{}")
    store.gc(keep=1, grace_seconds=0)
    assert not stray.exists()
    store.gc(keep=1, grace_seconds=0)
    assert keys_of(store, 2) == []


def test_a_pinned_generation_that_was_collected_names_those_there(store: SaliencyStore) -> None:
    store.gc(keep=2, grace_seconds=0)
    with pytest.raises(CacheNotFoundError, match=r"no generation 1 .* published are: 3, 4"):
        store.generation(1)


def test_a_lost_manifest_is_damage_not_collection(store: SaliencyStore) -> None:
    (root_of(store) / manifest_key(4)).unlink()
    with pytest.raises(DamagedCacheError, match=r"generation 4 .*, but has no manifest"):
        store.latest()
    store.gc(keep=1, grace_seconds=0)
    assert store.generations() == (3, 4)  # neither the damaged latest nor the newest whole one


def test_a_generation_with_a_damaged_plan_is_collected_all_the_same(
    store: SaliencyStore, make_plan: MakePlan
) -> None:
    (root_of(store) / plan_key(1)).write_text("{")
    store.gc(keep=2, grace_seconds=0)
    assert keys_of(store, 1) == []
    assert store.begin(make_plan(12, weights="9")).number == 5
