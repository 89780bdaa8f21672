"""The loader's side of a cache: whose maps they are, and generations that come and go."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cache_store.errors import CacheMismatchError, CacheNotFoundError
from cache_store.store import SaliencyStore
from loaders.image_data import ArrayData
from loaders.map_source import MapSource
from tests.loaders.marked_maps import loader_of, maps_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cache_store.generation import Generation

    Toy = Callable[..., ArrayData]
    PublishFor = Callable[..., Generation]


def _changed(data: ArrayData, rows: list[int]) -> ArrayData:
    """Return the data with other pixels in some images, under the same ids."""
    images = data.images.copy()
    images[rows] ^= 1
    return ArrayData(images, data.labels, data.class_names, name=data.name)


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
    np.testing.assert_array_equal(maps, maps_of(subset))


def test_a_subset_is_served_through_the_loader(
    tmp_path: Path, toy_images: Toy, publish_for: PublishFor
) -> None:
    publish_for(toy_images())
    subset = toy_images(rows=[30, 2, 9, 11, 4, 5, 6, 7])
    loader = loader_of(subset, tmp_path / "c")
    (batch,) = list(loader)
    fetched = loader.dataset.maps.fetch(1, batch.indices.numpy()).maps
    np.testing.assert_array_equal(fetched, maps_of(subset)[batch.indices.numpy()])


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
        loader_of(other, tmp_path / "c")
    with caplog.at_level(logging.WARNING, "scae"):
        loader = loader_of(other, tmp_path / "c", accept_stale=True, workers=2)
        assert len(list(loader)) == 5
        loader.set_epoch(1)
    (message,) = caplog.messages
    assert "4 of 40 images have changed" in message
    assert "toy[3], toy[8], toy[9] and 1 more" in message
    assert "--accept-stale" in message
    np.testing.assert_array_equal(loader.dataset.maps.fetch(1, np.arange(40)).maps, maps_of(data))


def test_unknown_samples_are_never_accepted(
    tmp_path: Path, toy_images: Toy, publish_for: PublishFor
) -> None:
    data = toy_images()
    publish_for(data.subset(range(36)))
    with pytest.raises(CacheMismatchError, match="no row for 4 of the 40"):
        loader_of(data, tmp_path / "c", accept_stale=True)


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
