"""Collection beside writers: at work, dead, or taken for dead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cache_store.backend import Backend
from cache_store.errors import CacheNotFoundError, DamagedCacheError, PublishConflictError
from cache_store.layout import generation_key, manifest_key, plan_key, receipts_key
from cache_store.leases import condemn
from cache_store.store import SaliencyStore
from cache_store.writer import GenerationWriter
from tests.cache_store.store_files import age, keys_of, root_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache_store.generation import Generation
    from cache_store.writer import GenerationPlan

    Publish = Callable[..., Generation]
    MakePlan = Callable[..., GenerationPlan]
    WriteBlock = Callable[..., None]


def test_numbers_are_never_given_twice(store: SaliencyStore, make_plan: MakePlan) -> None:
    store.gc(keep=1, grace_seconds=0)
    assert store.begin(make_plan(12, weights="9")).number == 5
    store.gc(keep=1, grace_seconds=0)  # the plan of 5 is the highest: it stays
    assert store.begin(make_plan(12, weights="8")).number == 6


def test_the_same_weights_get_a_new_number_after_collection(
    store: SaliencyStore, publish: Publish
) -> None:
    digest = store.generation(1).digest
    store.gc(keep=1, grace_seconds=0)
    again = publish(store, weights="0", salt=0)
    assert (again.number, again.digest) == (5, digest)


def test_an_unfinished_generation_stays_while_it_is_young(
    store: SaliencyStore, make_plan: MakePlan, write_block: WriteBlock
) -> None:
    writer = store.begin(make_plan(12, weights="9"))
    write_block(writer, 0)
    report = store.gc(keep=1, grace_seconds=600)
    assert report.held[5] == "unfinished, still young"
    assert writer.pending() == (1,)


def test_an_abandoned_generation_goes_and_its_plan_begins_elsewhere(
    store: SaliencyStore, make_plan: MakePlan, write_block: WriteBlock, publish: Publish
) -> None:
    write_block(store.begin(make_plan(12, weights="9")), 0)
    age(store, 1000)
    store.gc(keep=4, grace_seconds=600)
    assert keys_of(store, 5) == [manifest_key(5), plan_key(5)]  # what holds the number
    generation = publish(store, weights="9", salt=9)
    assert generation.number == 6
    assert generation.verify().ok
    assert 5 not in store.gc(keep=5, grace_seconds=600).held
    age(store, 1000)
    store.gc(keep=5, grace_seconds=600)
    assert keys_of(store, 5) == []


def test_a_writer_taken_for_dead_can_not_publish_and_says_why(
    store: SaliencyStore, make_plan: MakePlan, write_block: WriteBlock, publish: Publish
) -> None:
    writer = store.begin(make_plan(12, weights="9"))
    for block in writer.pending():
        write_block(writer, block)
    age(store, 1000)
    store.gc(keep=4, grace_seconds=600)
    for block in range(writer.num_blocks):
        write_block(writer, block)
    with pytest.raises(PublishConflictError, match=r"collected while .* run the refresh again"):
        store.publish(writer)
    assert store.latest().number == 4
    assert publish(store, weights="9").number == 6


def test_a_publisher_stalled_after_its_manifest_can_not_publish_either(
    store: SaliencyStore,
    make_plan: MakePlan,
    write_block: WriteBlock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writer = store.begin(make_plan(12, weights="9"))
    for block in writer.pending():
        write_block(writer, block)
    from cache_store import publish

    point_to = publish._point_to

    def stall(*arguments: object) -> None:
        age(store, 1000)
        store.gc(keep=4, grace_seconds=600)
        point_to(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(publish, "_point_to", stall)
    with pytest.raises((PublishConflictError, DamagedCacheError)):
        store.publish(writer)
    assert store.latest().number == 4
    age(store, 1000)
    store.gc(keep=4, grace_seconds=600)
    assert store.generations() == (1, 2, 3, 4)


def test_of_publisher_and_collection_at_once_the_publisher_may_win(
    store: SaliencyStore,
    make_plan: MakePlan,
    write_block: WriteBlock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writer = store.begin(make_plan(12, weights="9"))
    for block in writer.pending():
        write_block(writer, block)
    waiting = [True]

    def publish_then_condemn(backend: Backend, number: int, *, condemned: bool = True) -> None:
        if waiting:
            waiting.clear()
            store.publish(writer)
        condemn(backend, number, condemned=condemned)

    monkeypatch.setattr("cache_store.collect.condemn", publish_then_condemn)
    report = store.gc(keep=4, grace_seconds=0)
    assert report.held[5] == "published just now"
    assert store.latest().number == 5
    assert store.latest().verify().ok
    store.lease(5, owner="me").release()


def test_receipts_and_partial_files_of_dead_writers_go_after_the_grace(
    store: SaliencyStore,
) -> None:
    root = root_of(store)
    receipt = root / receipts_key(4) / "000000.json"
    receipt.parent.mkdir(parents=True)
    receipt.write_text("{}")
    partial = root / generation_key(4) / "saliency" / "x.123.partial"
    partial.write_bytes(b"half")
    assert store.gc(keep=4, grace_seconds=600).removed == ()
    age(store, 1000)
    report = store.gc(keep=4, grace_seconds=600)
    assert sorted(report.removed) == sorted(
        path.relative_to(root).as_posix() for path in (receipt, partial)
    )
    assert not partial.exists()
    assert store.latest().verify().ok


def test_a_worker_of_a_collected_generation_is_told_by_its_number(
    store: SaliencyStore,
) -> None:
    store.gc(keep=2, grace_seconds=0)
    with pytest.raises(CacheNotFoundError):
        GenerationWriter.attach(store.url, 1)
