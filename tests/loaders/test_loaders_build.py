"""Loaders are built for ranks and epochs, and refuse what they can't serve."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import torch
from torch.utils.data import DataLoader

from cache_store.errors import CacheMismatchError, CacheNotFoundError
from loaders.build import build_loader
from loaders.errors import OptionError
from loaders.image_data import ArrayData
from loaders.scae_dataset import ScaeDataset
from tests.loaders.erased_batches import STANDARD, WHOLE, batch_key, corner_maps, erasing_policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cache_store.generation import Generation

    Toy = Callable[..., ArrayData]
    Publish = Callable[..., Generation]


def test_an_epoch_holds_each_sample_once_over_all_ranks(toy_images: Toy) -> None:
    data = toy_images()
    for world in (1, 2, 4):
        seen: list[int] = []
        for rank in range(world):
            loader = build_loader(data, WHOLE, batch_size=4, rank=rank, world_size=world)
            seen += [index for batch in loader for index in batch.indices.tolist()]
        assert sorted(seen) == list(range(40))


def test_a_plain_data_loader_sees_the_epoch_change_in_persistent_workers(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish
) -> None:
    data = toy_images()
    publish_maps(data, tmp_path / "c", corner_maps(40))
    dataset = ScaeDataset(data, tmp_path / "c", erasing_policy(data), STANDARD)
    loader = DataLoader(
        dataset,
        batch_size=10,
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    epochs = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        images = torch.cat([images for images, _ in loader])
        epochs.append(images)
        expected = dataset.batch(batch_key(list(range(40)), epoch, 1)).images
        torch.testing.assert_close(images, expected, rtol=0, atol=0)
    assert not torch.equal(epochs[0], epochs[1])
    assert torch.equal(epochs[0], epochs[2])


def test_a_cache_of_other_data_is_refused_at_the_start(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish
) -> None:
    publish_maps(toy_images(), tmp_path / "c", corner_maps(40))
    other = toy_images(44)
    with pytest.raises(CacheMismatchError, match=r"no row for .* of the 44 samples.*scae refresh"):
        build_loader(other, WHOLE, cache=tmp_path / "c", policy=erasing_policy(other))


def test_a_cache_that_is_not_there_is_an_error_and_not_uniform_centres(
    tmp_path: Path, toy_images: Toy
) -> None:
    data = toy_images()
    with pytest.raises(CacheNotFoundError, match="make one with 'scae refresh'"):
        build_loader(data, WHOLE, cache=tmp_path / "none", policy=erasing_policy(data))
    build_loader(data, WHOLE, cache=tmp_path / "none", policy=erasing_policy(data), generation=0)


def test_an_epoch_beyond_the_schedule_is_refused(toy_images: Toy) -> None:
    data = toy_images()
    loader = build_loader(data, WHOLE, policy=erasing_policy(data))
    with pytest.raises(OptionError, match=re.escape("epoch must be in [0, 4), got 4")):
        loader.set_epoch(4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"num_workers": -1}, "num_workers must be at least 0 .* got -1", id="workers"),
        pytest.param({"prefetch_factor": 0}, "prefetch_factor at least 1, got 0 and 0", id="none"),
        pytest.param({"rank": 1}, "must be given together, got rank=1 world_size=None", id="rank"),
        pytest.param(
            {"start_method": "thread", "num_workers": 1},
            "start_method must be one of fork, spawn, forkserver, got 'thread'",
            id="start",
        ),
    ],
)
def test_loader_options_outside_their_range_are_refused(
    toy_images: Toy, options: dict[str, object], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        build_loader(toy_images(), WHOLE, **options)  # type: ignore[arg-type]
