"""The loader's side of a cache: identity, leases, generations that come and go."""

from __future__ import annotations

import gc
import json
import logging
import os
import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cache_store.backend import open_backend
from cache_store.errors import CacheMismatchError, CacheNotFoundError, StoreError
from cache_store.leases import LEASES, LeaseInfo, read_leases
from cache_store.local_backend import LocalBackend
from cache_store.provenance import Provenance
from cache_store.store import SaliencyStore
from cache_store.writer import GenerationPlan
from loaders.batches import NO_GENERATION
from loaders.build import build_loader
from loaders.geometry import Whole
from loaders.image_data import ArrayData
from loaders.map_source import RENEW_SECONDS, MapSource
from loaders.policy import ScaePolicy
from loaders.transforms import StandardTransform

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cache_store.generation import Generation
    from loaders.scae_loader import ScaeLoader

    Toy = Callable[..., ArrayData]
    PublishFor = Callable[..., Generation]

TRANSFORM = StandardTransform(geometry=Whole(16), mean=(0.5,) * 3, std=(0.25,) * 3)


def _maps_of(data: ArrayData, epoch: int = 0) -> NDArray[np.uint8]:
    """Maps (N, 2, 2) that tell by their content whose they are."""
    ids = data.sample_ids.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :4] + np.uint8(epoch)
    return np.ascontiguousarray(ids.reshape(-1, 2, 2))


@pytest.fixture
def publish_for(tmp_path: Path) -> PublishFor:
    """Publish maps of a data set into tmp_path / 'c'."""

    def publish(data: ArrayData, epoch: int = 0, *, deep: bool | None = None) -> Generation:
        store = SaliencyStore.create(
            tmp_path / "c",
            sample_ids=data.sample_ids,
            content_ids=data.content_ids,
            labels=data.labels,
            fingerprint=data.fingerprint,
            data=data.name,
            deep=deep,
        )
        provenance = Provenance(
            data=data.name,
            fingerprint=data.fingerprint,
            network="formula",
            weights="random",
            weights_digest="0",
            target_layer="none",
            size=16,
            mean=(0.5,),
            std=(0.25,),
            batch_size=8,
            channels_last=False,
            precision="fp32",
            device_type="cpu",
            code_version="0",
            epoch=epoch,
        )
        plan = GenerationPlan(
            provenance=provenance,
            num_samples=len(data),
            map_shape=(2, 2),
            block_rows=16,
            chunk_rows=8,
        )
        writer = store.begin(plan)
        for block in range(writer.num_blocks):
            start, stop = writer.block_range(block)
            writer.write_block(block, _maps_of(data, epoch)[start:stop], np.ones(stop - start), ())
        return store.publish(writer)

    return publish


def _leases(folder: Path) -> list[LeaseInfo]:
    return read_leases(open_backend(folder))


def _changed(data: ArrayData, rows: list[int]) -> ArrayData:
    """Return the data with other pixels in some images, under the same ids."""
    images = data.images.copy()
    images[rows] ^= 1
    return ArrayData(images, data.labels, data.class_names, name=data.name)


def _loader(
    data: ArrayData, cache: Path, *, accept_stale: bool = False, rank: int = 0, workers: int = 0
) -> ScaeLoader:
    policy = ScaePolicy(num_epochs=4, class_counts=tuple(data.class_counts.tolist()))
    return build_loader(
        data,
        TRANSFORM,
        cache=cache,
        policy=policy,
        batch_size=8,
        num_workers=workers,
        rank=rank,
        world_size=rank + 1,
        accept_stale=accept_stale,
    )


# --- Identity


@pytest.mark.parametrize(
    "rows", [list(range(40)), [39, 0, 17], list(range(1, 40, 3))], ids=["all", "few", "third"]
)
def test_a_subset_finds_its_own_maps_in_a_superset_cache(
    tmp_path: Path, toy_images: Toy, publish_for: PublishFor, rows: list[int]
) -> None:
    publish_for(toy_images())
    subset = toy_images(rows=rows)
    assert isinstance(subset, ArrayData)
    source = MapSource(subset, tmp_path / "c", 16)
    source.check(1)
    maps = source.fetch(1, np.arange(len(subset))).maps
    np.testing.assert_array_equal(maps, _maps_of(subset))


def test_a_subset_is_served_through_the_loader(
    tmp_path: Path, toy_images: Toy, publish_for: PublishFor
) -> None:
    publish_for(toy_images())
    subset = toy_images(rows=[30, 2, 9, 11, 4, 5, 6, 7])
    loader = _loader(subset, tmp_path / "c")
    (batch,) = list(loader)
    fetched = loader.dataset.maps.fetch(1, batch.indices.numpy()).maps
    np.testing.assert_array_equal(fetched, _maps_of(subset)[batch.indices.numpy()])


def test_refusal_names_samples_fields_and_the_command(
    tmp_path: Path, toy_images: Toy, publish_for: PublishFor
) -> None:
    data = toy_images()
    publish_for(data.subset(range(36)))
    other = _changed(data, [1, 2])
    with pytest.raises(CacheMismatchError) as caught:
        MapSource(other, tmp_path / "c", 16).check(1)
    message = str(caught.value)
    assert "no row for 4 of the 40 samples (it has 36 rows)" in message
    assert "toy[36], toy[37], toy[38] and 1 more" in message
    assert "2 of 40 images have changed" in message
    assert "toy[1], toy[2]" in message
    assert "samples 36 there, 40 here" in message
    assert f"fingerprint {data.subset(range(36)).fingerprint[:12]} there" in message
    assert "'scae refresh --data toy --network formula --cache'" in message
    assert "\n" not in message


def test_stale_maps_are_refused_until_accepted_and_then_named(
    tmp_path: Path,
    toy_images: Toy,
    publish_for: PublishFor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = toy_images()
    publish_for(data)
    other = _changed(data, [3, 8, 9, 30])
    with pytest.raises(CacheMismatchError, match=r"4 of 40 images .* --accept-stale"):
        _loader(other, tmp_path / "c")
    with caplog.at_level(logging.WARNING, "scae"):
        loader = _loader(other, tmp_path / "c", accept_stale=True, workers=2)
        assert len(list(loader)) == 5
        loader.set_epoch(1)
    (message,) = caplog.messages
    assert "4 of 40 images have changed" in message
    assert "toy[3], toy[8], toy[9] and 1 more" in message
    assert "--accept-stale" in message
    np.testing.assert_array_equal(loader.dataset.maps.fetch(1, np.arange(40)).maps, _maps_of(data))


def test_unknown_samples_are_never_accepted(
    tmp_path: Path, toy_images: Toy, publish_for: PublishFor
) -> None:
    data = toy_images()
    publish_for(data.subset(range(36)))
    with pytest.raises(CacheMismatchError, match="no row for 4 of the 40"):
        _loader(data, tmp_path / "c", accept_stale=True)


def test_hashes_of_bytes_and_of_sizes_are_never_compared(
    tmp_path: Path, toy_images: Toy, publish_for: PublishFor
) -> None:
    data = toy_images()
    publish_for(data, deep=True)
    shallow = toy_images()
    shallow.deep = False
    with pytest.raises(CacheMismatchError, match=r"made with --deep, .* add --deep"):
        MapSource(shallow, tmp_path / "c", 16, accept_stale=True).check(1)
    MapSource(data, tmp_path / "c", 16).check(1)


def test_a_shallow_cache_refuses_data_opened_deep(
    tmp_path: Path, toy_images: Toy, publish_for: PublishFor
) -> None:
    publish_for(toy_images(), deep=False)
    with pytest.raises(CacheMismatchError, match=r"made without --deep.*leave it out"):
        MapSource(toy_images(), tmp_path / "c", 16).check(1)


# --- Leases


def test_rank_0_leases_what_is_in_use_and_moves_with_it(
    tmp_path: Path, toy_images: Toy, publish_for: PublishFor
) -> None:
    data = toy_images()
    publish_for(data)
    loader = _loader(data, tmp_path / "c")
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
    loader = _loader(toy_images(), tmp_path / "c", workers=1)
    list(loader)
    assert len(_leases(tmp_path / "c")) == 1
    del loader
    gc.collect()
    assert _leases(tmp_path / "c") == []


def test_other_ranks_and_plain_sources_take_no_lease(
    tmp_path: Path, toy_images: Toy, publish_for: PublishFor
) -> None:
    publish_for(toy_images())
    _loader(toy_images(), tmp_path / "c", rank=1)
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
    loader = _loader(toy_images(), tmp_path / "c")
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
    loader = _loader(data, tmp_path / "c")
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
        loader = _loader(toy_images(), tmp_path / "c")
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


# --- Generations that come and go


def test_the_latest_is_chosen_again_when_it_was_collected_before_the_lease(
    tmp_path: Path,
    toy_images: Toy,
    publish_for: PublishFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = toy_images()
    publish_for(data)
    source = MapSource(data, tmp_path / "c", 16, lease=True)
    newest = source.latest
    looks: list[int] = []

    def then_collected() -> int:
        number = newest()
        if not looks:
            publish_for(data, 1)
            SaliencyStore.open(tmp_path / "c", "r+").gc(keep=1, grace_seconds=0)
        looks.append(number)
        return number

    monkeypatch.setattr(source, "latest", then_collected)
    assert source.check_latest() == 2
    assert looks[0] == 1


def test_a_pinned_generation_that_is_gone_names_those_there(
    tmp_path: Path, toy_images: Toy, publish_for: PublishFor
) -> None:
    data = toy_images()
    for epoch in range(3):
        publish_for(data, epoch)
    SaliencyStore.open(tmp_path / "c", "r+").gc(keep=2, grace_seconds=0)
    with pytest.raises(CacheNotFoundError, match=r"no generation 1 .* published are: 2, 3"):
        MapSource(data, tmp_path / "c", 16).check(1)


def test_the_identity_says_whether_hashes_are_deep(
    tmp_path: Path, toy_images: Toy, publish_for: PublishFor
) -> None:
    publish_for(toy_images(), deep=True)
    root = json.loads((tmp_path / "c" / "zarr.json").read_text())
    assert root["attributes"]["scae"]["deep"] is True
    assert SaliencyStore.open(tmp_path / "c").identity.deep is True
