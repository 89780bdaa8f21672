"""The loader leases the generation in use, so that no collection takes it away."""

from __future__ import annotations

import gc
import logging
import os
import pickle
from typing import TYPE_CHECKING

import pytest

from cache_store.backend import open_backend
from cache_store.errors import StoreError
from cache_store.leases import LEASES, LeaseInfo, read_leases
from cache_store.local_backend import LocalBackend
from cache_store.store import SaliencyStore
from loaders.batches import NO_GENERATION
from loaders.image_data import ArrayData
from loaders.map_source import RENEW_SECONDS, MapSource
from tests.loaders.marked_maps import loader_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cache_store.generation import Generation

    Toy = Callable[..., ArrayData]
    PublishFor = Callable[..., Generation]


def _leases(folder: Path) -> list[LeaseInfo]:
    return read_leases(open_backend(folder))


def test_rank_0_leases_what_is_in_use_and_moves_with_it(
    tmp_path: Path, toy_images: Toy, publish_for: PublishFor
) -> None:
    data = toy_images()
    publish_for(data)
    loader = loader_of(data, tmp_path / "c")
    (lease,) = _leases(tmp_path / "c")
    assert lease.generation == 1
    assert str(os.getpid()) in lease.owner
    publish_for(data, 1)
    store = SaliencyStore.open(tmp_path / "c", "r+")
    assert store.gc(keep=1, grace_seconds=0).generations == ()
    assert loader.set_epoch(1) == 2
    (moved,) = _leases(tmp_path / "c")
    assert (moved.key, moved.generation) == (lease.key, 2)
    assert store.gc(keep=1, grace_seconds=0).generations == (1,)
    loader.set_epoch(2, NO_GENERATION)
    assert _leases(tmp_path / "c") == []


def test_the_lease_ends_with_the_loader(
    tmp_path: Path, toy_images: Toy, publish_for: PublishFor
) -> None:
    publish_for(toy_images())
    loader = loader_of(toy_images(), tmp_path / "c", workers=1)
    list(loader)
    assert len(_leases(tmp_path / "c")) == 1
    del loader
    gc.collect()
    assert _leases(tmp_path / "c") == []


def test_other_ranks_and_plain_sources_take_no_lease(
    tmp_path: Path, toy_images: Toy, publish_for: PublishFor
) -> None:
    publish_for(toy_images())
    loader_of(toy_images(), tmp_path / "c", rank=1)
    MapSource(toy_images(), tmp_path / "c", 16).check(1)
    assert not (tmp_path / "c" / LEASES).exists()


def test_passing_batches_renew_the_lease_once_a_minute(
    tmp_path: Path,
    toy_images: Toy,
    publish_for: PublishFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish_for(toy_images())
    clock = [1000.0]
    monkeypatch.setattr("loaders.map_source.time.monotonic", lambda: clock[0])
    loader = loader_of(toy_images(), tmp_path / "c")
    (lease,) = _leases(tmp_path / "c")
    path = tmp_path / "c" / lease.key

    def written() -> int:
        return path.stat().st_ino

    before = written()
    list(loader)
    assert written() == before
    clock[0] += RENEW_SECONDS
    batches = iter(loader)
    next(batches)
    renewed = written()
    assert renewed != before
    list(batches)
    assert written() == renewed


def test_a_lease_that_ended_is_told_and_training_goes_on(
    tmp_path: Path,
    toy_images: Toy,
    publish_for: PublishFor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = toy_images()
    publish_for(data)
    clock = [1000.0]
    monkeypatch.setattr("loaders.map_source.time.monotonic", lambda: clock[0])
    loader = loader_of(data, tmp_path / "c")
    publish_for(data, 1)
    (lease,) = _leases(tmp_path / "c")
    os.utime(tmp_path / "c" / lease.key, (1e9, 1e9))  # the process was stopped for long
    SaliencyStore.open(tmp_path / "c", "r+").gc(keep=1, grace_seconds=0)
    clock[0] += RENEW_SECONDS
    with caplog.at_level(logging.WARNING, "scae"):
        assert len(list(loader)) == 5
    assert "the lease had ended" in caplog.text
    assert loader.set_epoch(1) == 2
    assert [info.generation for info in _leases(tmp_path / "c")] == [2]


def test_a_cache_that_can_not_be_written_is_read_without_a_lease(
    tmp_path: Path,
    toy_images: Toy,
    publish_for: PublishFor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    publish_for(toy_images())

    def refuse(*_: object) -> None:
        raise StoreError("can't write: Read-only file system")

    monkeypatch.setattr(LocalBackend, "write", refuse)
    with caplog.at_level(logging.WARNING, "scae"):
        loader = loader_of(toy_images(), tmp_path / "c")
        assert len(list(loader)) == 5
        loader.set_epoch(1)
    assert len(caplog.messages) == 1
    assert "is read without a lease" in caplog.messages[0]


def test_a_pickled_source_takes_no_lease_of_its_own(
    tmp_path: Path, toy_images: Toy, publish_for: PublishFor
) -> None:
    publish_for(toy_images())
    source = MapSource(toy_images(), tmp_path / "c", 16, lease=True)
    source.check(1)
    copy: MapSource = pickle.loads(pickle.dumps(source))
    copy.check(1)
    assert len(_leases(tmp_path / "c")) == 1
