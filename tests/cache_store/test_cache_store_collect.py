from __future__ import annotations

import multiprocessing
import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cache_store.backend import Backend, ObjectInfo
from cache_store.collect import collect
from cache_store.errors import (
    CacheNotFoundError,
    DamagedCacheError,
    PublishConflictError,
    StoreError,
)
from cache_store.layout import (
    generation_key,
    manifest_key,
    plan_key,
    published_key,
    receipts_key,
)
from cache_store.leases import condemn
from cache_store.local_backend import LocalBackend
from cache_store.store import SaliencyStore
from cache_store.writer import GenerationWriter

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cache_store.generation import Generation
    from cache_store.writer import GenerationPlan

    Publish = Callable[..., Generation]
    MakeStore = Callable[..., SaliencyStore]
    MakePlan = Callable[..., GenerationPlan]
    WriteBlock = Callable[..., None]
    Maps = Callable[..., NDArray[np.uint8]]


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


class DyingBackend(Backend):
    """Passes everything on and dies just before the k-th operation that changes something."""

    def __init__(self, inner: Backend, left: int) -> None:
        self.inner, self.url, self.left = inner, inner.url, left

    def _tick(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1

    def read(self, key: str) -> bytes | None:
        return self.inner.read(key)

    def length(self, key: str) -> int | None:
        return self.inner.length(key)

    def write(self, key: str, data: bytes) -> None:
        self._tick()
        self.inner.write(key, data)

    def create(self, key: str, data: bytes) -> bool:
        self._tick()
        return self.inner.create(key, data)

    def delete(self, key: str) -> None:
        self._tick()
        self.inner.delete(key)

    def list(self, prefix: str) -> list[ObjectInfo]:
        return self.inner.list(prefix)

    def leftovers(self) -> builtins.list[ObjectInfo]:
        return self.inner.leftovers()

    def now(self) -> float:
        return self.inner.now()


@pytest.fixture
def store(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    make_store: MakeStore,
    publish: Publish,
) -> SaliencyStore:
    """Four generations; made once, then copied."""
    made = tmp_path_factory.getbasetemp() / "four-generations"
    if not made.exists():
        store = make_store(made, 12)
        for salt in range(4):
            publish(store, weights=str(salt), salt=salt)
    shutil.copytree(made, tmp_path / "c")
    return SaliencyStore.open(tmp_path / "c", "r+", fsync=False)


def _root(store: SaliencyStore) -> Path:
    backend = store._backend
    if not isinstance(backend, LocalBackend):
        pytest.fail("these tests look at files")
    return backend.root


def _keys(store: SaliencyStore) -> list[str]:
    root = _root(store)
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def _keys_of(store: SaliencyStore, number: int) -> list[str]:
    names = (generation_key(number), receipts_key(number), manifest_key(number))
    ours = (*names, plan_key(number), published_key(number))
    return [key for key in _keys(store) if key.startswith(ours)]


def _age(store: SaliencyStore, seconds: float) -> None:
    """Make everything there look that much older to the store's clock."""
    for path in _root(store).rglob("*"):
        if path.is_file():
            written = path.stat().st_mtime - seconds
            os.utime(path, (written, written))


def test_the_newest_stay_and_the_rest_goes_without_a_trace(store: SaliencyStore) -> None:
    before = sum((_root(store) / key).stat().st_size for key in _keys(store))
    report = store.gc(keep=2, grace_seconds=0)
    assert report.generations == (1, 2)
    assert report.held == {3: "among the newest 2", 4: "latest"}
    assert store.generations() == (3, 4)
    assert _keys_of(store, 1) == _keys_of(store, 2) == []
    after = sum((_root(store) / key).stat().st_size for key in _keys(store))
    # The mark in the plan, written in between, is a few bytes more.
    assert abs(before - after - report.freed_bytes) < 100
    for number in (3, 4):
        assert store.generation(number).verify().ok


def test_a_dry_run_lists_the_same_and_changes_nothing(store: SaliencyStore) -> None:
    before = {key: (_root(store) / key).read_bytes() for key in _keys(store)}
    planned = store.gc(keep=1, dry_run=True, grace_seconds=0)
    assert {key: (_root(store) / key).read_bytes() for key in _keys(store)} == before
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
    _age(store, 1000)
    path = _root(store) / published_key(4)  # so generation 3 was the latest until 500 s ago
    os.utime(path, (path.stat().st_mtime + 500,) * 2)
    report = store.gc(keep=1, grace_seconds=600)
    assert report.generations == (1, 2)
    assert report.held == {3: "younger than grace", 4: "latest"}
    assert store.gc(keep=1, grace_seconds=400).generations == (3,)


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
    _age(store, 1000)
    store.gc(keep=4, grace_seconds=600)
    assert _keys_of(store, 5) == [manifest_key(5), plan_key(5)]  # what holds the number
    generation = publish(store, weights="9", salt=9)
    assert generation.number == 6
    assert generation.verify().ok
    assert 5 not in store.gc(keep=5, grace_seconds=600).held
    _age(store, 1000)
    store.gc(keep=5, grace_seconds=600)
    assert _keys_of(store, 5) == []


def test_a_writer_taken_for_dead_can_not_publish_and_says_why(
    store: SaliencyStore, make_plan: MakePlan, write_block: WriteBlock, publish: Publish
) -> None:
    writer = store.begin(make_plan(12, weights="9"))
    for block in writer.pending():
        write_block(writer, block)
    _age(store, 1000)
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
        _age(store, 1000)
        store.gc(keep=4, grace_seconds=600)
        point_to(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(publish, "_point_to", stall)
    with pytest.raises((PublishConflictError, DamagedCacheError)):
        store.publish(writer)
    assert store.latest().number == 4
    _age(store, 1000)
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
    root = _root(store)
    receipt = root / receipts_key(4) / "000000.json"
    receipt.parent.mkdir(parents=True)
    receipt.write_text("{}")
    partial = root / generation_key(4) / "saliency" / "x.123.partial"
    partial.write_bytes(b"half")
    assert store.gc(keep=4, grace_seconds=600).removed == ()
    _age(store, 1000)
    report = store.gc(keep=4, grace_seconds=600)
    assert sorted(report.removed) == sorted(
        path.relative_to(root).as_posix() for path in (receipt, partial)
    )
    assert not partial.exists()
    assert store.latest().verify().ok


def test_data_without_any_record_is_collected(store: SaliencyStore) -> None:
    stray = _root(store) / generation_key(2) / "saliency" / "zarr.json"
    store.gc(keep=1, grace_seconds=0)
    stray.parent.mkdir(parents=True)
    stray.write_text("{}")
    store.gc(keep=1, grace_seconds=0)
    assert not stray.exists()
    store.gc(keep=1, grace_seconds=0)
    assert _keys_of(store, 2) == []


def test_killed_at_any_point_it_leaves_whole_generations_and_a_rerun_finishes(
    tmp_path: Path,
    make_store: MakeStore,
    publish: Publish,
    make_plan: MakePlan,
    write_block: WriteBlock,
) -> None:
    made = make_store(tmp_path / "made", 8)
    for salt in range(3):
        publish(made, weights=str(salt), salt=salt)
        if salt == 0:
            write_block(made.begin(make_plan(8, weights="7")), 0)

    def prepared(name: str) -> SaliencyStore:
        shutil.copytree(tmp_path / "made", tmp_path / name)
        return SaliencyStore.open(tmp_path / name, "r+", fsync=False)

    undisturbed = prepared("undisturbed")
    undisturbed.gc(keep=1, grace_seconds=0)
    expected = _keys(undisturbed)
    for step in range(200):
        store = prepared(f"step{step}")
        backend = DyingBackend(LocalBackend(_root(store), fsync=False), step)
        try:
            collect(backend, keep=1, dry_run=False, grace_seconds=0)
        except Killed:
            reader = SaliencyStore.open(store.url)
            for number in reader.generations():
                assert reader.generation(number).verify().ok
            assert reader.latest().number == 4
            store.gc(keep=1, grace_seconds=0)
            assert _keys(store) == expected
        else:
            break
    else:
        pytest.fail("never came to the end")
    assert step > 20


def _collect_again_and_again(url: str, rounds: int) -> None:
    store = SaliencyStore.open(url, "r+", fsync=False)
    for _ in range(rounds):
        store.gc(keep=1, grace_seconds=0)


def test_two_collections_at_once_end_in_one_whole_generation(
    store: SaliencyStore, publish: Publish
) -> None:
    context = multiprocessing.get_context("fork")
    others = [
        context.Process(target=_collect_again_and_again, args=(store.url, 40)) for _ in range(2)
    ]
    for other in others:
        other.start()
    for other in others:
        other.join()
        assert other.exitcode == 0
    assert store.generations() == (4,)
    assert store.latest().verify().ok
    store.gc(keep=1, grace_seconds=0)
    assert all(_keys_of(store, number) == [] for number in (1, 2, 3))


def test_readers_with_a_lease_never_miss_a_file_while_generations_come_and_go(
    tmp_path: Path, make_store: MakeStore, publish: Publish, formula_maps: Maps
) -> None:
    store = make_store(tmp_path / "c", 12)
    publish(store, weights="0", salt=0)
    context = multiprocessing.get_context("fork")
    stop = context.Event()
    results: multiprocessing.SimpleQueue[int] = context.SimpleQueue()

    def read() -> None:
        reader, done = SaliencyStore.open(store.url), 0
        while not stop.is_set():
            try:
                lease = reader.lease(reader.latest().number, owner="reader")
            except CacheNotFoundError:
                continue  # collected between the two: choose again
            with lease:
                generation = reader.generation(lease.generation)
                salt = int(generation.provenance.weights_digest[0], 16)
                stored = np.asarray(generation.saliency[:])
                if not np.array_equal(stored, formula_maps(0, 12, salt)):
                    results.put(-1)
                    return
                done += 1
        results.put(done)

    reader = context.Process(target=read)
    reader.start()
    for salt in range(1, 25):
        publish(store, weights=f"{salt % 16:x}", salt=salt % 16)
        store.gc(keep=1, grace_seconds=0)
    stop.set()
    reader.join(60)
    assert reader.exitcode == 0
    assert results.get() > 3


def test_latest_looks_again_when_what_it_chose_was_collected(
    store: SaliencyStore, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = SaliencyStore.open(store.url)
    listing = reader.generations
    looks: list[tuple[int, ...]] = []

    def then_collected() -> tuple[int, ...]:
        numbers = listing()
        if not looks:
            publish(store, weights="9", salt=9)
            store.gc(keep=1, grace_seconds=0)
        looks.append(numbers)
        return numbers

    monkeypatch.setattr(reader, "generations", then_collected)
    assert reader.latest().number == 5
    assert looks[0] == (1, 2, 3, 4)


def test_a_pinned_generation_that_was_collected_names_those_there(store: SaliencyStore) -> None:
    store.gc(keep=2, grace_seconds=0)
    with pytest.raises(CacheNotFoundError, match=r"no generation 1 .* published are: 3, 4"):
        store.generation(1)


def test_a_lost_manifest_is_damage_not_collection(store: SaliencyStore) -> None:
    (_root(store) / manifest_key(4)).unlink()
    with pytest.raises(DamagedCacheError, match=r"generation 4 .*, but has no manifest"):
        store.latest()
    store.gc(keep=1, grace_seconds=0)
    assert store.generations() == (3, 4)  # neither the damaged latest nor the newest whole one


def test_a_generation_with_a_damaged_plan_is_collected_all_the_same(
    store: SaliencyStore, make_plan: MakePlan
) -> None:
    (_root(store) / plan_key(1)).write_text("{")
    store.gc(keep=2, grace_seconds=0)
    assert _keys_of(store, 1) == []
    assert store.begin(make_plan(12, weights="9")).number == 5


def test_a_worker_of_a_collected_generation_is_told_by_its_number(
    store: SaliencyStore,
) -> None:
    store.gc(keep=2, grace_seconds=0)
    with pytest.raises(CacheNotFoundError):
        GenerationWriter.attach(store.url, 1)
