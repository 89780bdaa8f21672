from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

from cache_store.errors import CacheNotFoundError, StoreError
from cache_store.leases import LEASES, condemn, is_condemned, read_leases
from cache_store.local_backend import LocalBackend
from cache_store.memory_backend import MemoryBackend
from cache_store.store import SaliencyStore
from tests.cache_store.store_files import backend_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache_store.generation import Generation

    Publish = Callable[..., Generation]
    MakeStore = Callable[..., SaliencyStore]


@pytest.fixture
def store(copied: Callable[[int, int], SaliencyStore]) -> SaliencyStore:
    """Three generations of 20 samples."""
    return copied(3, 20)


def _files(store: SaliencyStore) -> list[str]:
    return [info.key for info in LocalBackend.list(backend_of(store), LEASES)]


def _age(store: SaliencyStore, seconds: float) -> None:
    """Make all leases look as if they were written that long ago."""
    for key in _files(store):
        path = backend_of(store).root / key
        written = path.stat().st_mtime - seconds
        os.utime(path, (written, written))


def test_a_lease_is_one_record_that_release_removes(store: SaliencyStore) -> None:
    lease = store.lease(1, owner="job 7")
    (info,) = read_leases(backend_of(store))
    assert (info.generation, info.owner) == (1, "job 7")
    lease.release()
    lease.release()
    assert _files(store) == []


def test_leaving_the_context_releases_after_an_error_too(store: SaliencyStore) -> None:
    with pytest.raises(CacheNotFoundError), store.lease(1, owner="me"):
        store.generation(len(_files(store)) + 8)
    assert _files(store) == []


def test_a_leased_generation_survives_collection_and_goes_after_release(
    store: SaliencyStore,
) -> None:
    with store.lease(1, owner="job 7"):
        report = store.gc(keep=1, grace_seconds=0)
        assert report.generations == (2,)
        assert report.held == {1: "lease of job 7", 3: "latest"}
        assert store.generation(1).verify().ok
    assert store.gc(keep=1, grace_seconds=0).generations == (1,)
    assert store.generations() == (3,)


def test_a_lease_ends_by_the_stores_clock_and_renewal_begins_it_anew(store: SaliencyStore) -> None:
    lease = store.lease(1, owner="me", seconds=100)
    _age(store, 99)
    assert 1 in store.gc(keep=1, grace_seconds=0).held
    lease.renew()
    _age(store, 99)
    assert 1 in store.gc(keep=1, grace_seconds=0).held
    _age(store, 100)
    assert store.gc(keep=1, grace_seconds=0).generations == (1,)


def test_clocks_of_this_machine_play_no_part(
    store: SaliencyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.lease(1, owner="me")
    monkeypatch.setattr("time.time", lambda: 4e9)
    monkeypatch.setattr("time.monotonic", lambda: 4e9)
    assert 1 in store.gc(keep=1, grace_seconds=0).held


def test_a_renewal_after_the_end_says_that_the_generation_is_gone(store: SaliencyStore) -> None:
    lease = store.lease(1, owner="me", seconds=100)
    _age(store, 200)
    store.gc(keep=2, grace_seconds=0)
    with pytest.raises(CacheNotFoundError, match=r"generation 1 .* is not published.*: 2, 3"):
        lease.renew()
    assert _files(store) == []


def test_a_moved_lease_protects_the_other_generation_alone(store: SaliencyStore) -> None:
    lease = store.lease(1, owner="me")
    lease.move(2)
    assert len(_files(store)) == 1
    report = store.gc(keep=1, grace_seconds=0)
    assert report.generations == (1,)
    assert 2 in report.held


def test_an_unknown_generation_can_not_be_leased(store: SaliencyStore) -> None:
    with pytest.raises(CacheNotFoundError, match=r"generation 9 .* is not published.*: 1, 2, 3"):
        store.lease(9, owner="me")
    assert _files(store) == []


def test_a_generation_under_collection_can_not_be_leased_but_the_latest_can(
    store: SaliencyStore,
) -> None:
    for number in (1, 3):
        condemn(backend_of(store), number)
    with pytest.raises(CacheNotFoundError, match=r"generation 1 .* is being collected"):
        store.lease(1, owner="me")
    store.lease(3, owner="me").release()
    store.gc(keep=2, grace_seconds=0)
    assert not is_condemned(backend_of(store), 3)


def test_a_lease_taken_between_the_look_and_the_mark_is_seen(
    store: SaliencyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lease_then_condemn(backend: LocalBackend, number: int) -> None:
        store.lease(number, owner="quick")
        condemn(backend, number)

    monkeypatch.setattr("cache_store.collect.condemn", lease_then_condemn)
    report = store.gc(keep=2, grace_seconds=0)
    assert report.held[1] == "lease of quick"
    assert store.generations() == (1, 2, 3)


def test_ended_and_unreadable_leases_are_swept_after_the_grace(store: SaliencyStore) -> None:
    store.lease(2, owner="dead", seconds=10)
    (backend_of(store).root / LEASES / "odd.json").write_text("{")
    _age(store, 1000)
    live = store.lease(2, owner="live")
    assert store.gc(keep=3, grace_seconds=3600).removed == ()
    assert len(store.gc(keep=3, grace_seconds=60).removed) == 2
    assert [info.owner for info in read_leases(backend_of(store))] == ["live"]
    live.release()


def test_a_store_that_can_not_be_written_is_read_and_says_so_once(
    store: SaliencyStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("can't write: Read-only file system")

    monkeypatch.setattr(LocalBackend, "write", refuse)
    with caplog.at_level(logging.WARNING, "scae"):
        for _ in range(2):
            with store.lease(1, owner="me") as lease:
                assert not lease.held
                lease.renew()
                lease.move(2)
    assert len(caplog.messages) == 1
    assert "is read without a lease" in caplog.messages[0]
    assert "Read-only file system" in caplog.messages[0]


def test_a_fork_neither_renews_nor_releases(store: SaliencyStore) -> None:
    lease = store.lease(1, owner="me")
    child = os.fork()
    if child == 0:
        lease.release()
        os._exit(0)
    os.waitpid(child, 0)
    assert len(_files(store)) == 1
    lease.release()


def test_leases_work_in_memory(make_store: MakeStore, publish: Publish) -> None:
    made = make_store("memory://test_leases")
    publish(made)
    with made.lease(1, owner="me"):
        assert len(read_leases(MemoryBackend("memory://test_leases"))) == 1


def test_a_lease_of_no_time_is_refused(store: SaliencyStore) -> None:
    with pytest.raises(ValueError, match="above 0, got 0"):
        store.lease(1, owner="me", seconds=0)
