"""Collection that is killed, runs twice at once, or runs under readers."""

from __future__ import annotations

import multiprocessing
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cache_store.backend import Backend, ObjectInfo
from cache_store.collect import collect
from cache_store.errors import CacheNotFoundError
from cache_store.local_backend import LocalBackend
from cache_store.store import SaliencyStore
from tests.cache_store.store_files import keys, keys_of, root_of

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
    expected = keys(undisturbed)
    for step in range(200):
        store = prepared(f"step{step}")
        backend = DyingBackend(LocalBackend(root_of(store), fsync=False), step)
        try:
            collect(backend, keep=1, dry_run=False, grace_seconds=0)
        except Killed:
            reader = SaliencyStore.open(store.url)
            for number in reader.generations():
                assert reader.generation(number).verify().ok
            assert reader.latest().number == 4
            store.gc(keep=1, grace_seconds=0)
            assert keys(store) == expected
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
    assert all(keys_of(store, number) == [] for number in (1, 2, 3))


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
