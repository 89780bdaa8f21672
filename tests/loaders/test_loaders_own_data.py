"""A user's own data sets and pipelines of transforms, in files and in memory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from loaders.build import build_loader
from loaders.errors import DataError, GeometryError
from loaders.folder_data import FolderData
from loaders.followed_transform import build_transform
from loaders.geometry import CropFlip, ResizedCropFlip, Whole
from loaders.image_data import ArrayData
from loaders.map_style_data import MapStyleData
from loaders.scae_dataset import ScaeDataset
from loaders.transforms import StandardTransform
from tests.loaders.conftest import MEAN, STD
from tests.loaders.erased_batches import WHOLE, batch_key, corner_maps, erasing_policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cache_store.generation import Generation

    Toy = Callable[..., ArrayData]
    Publish = Callable[..., Generation]


class _Pairs:
    """A data set as users have them."""

    def __init__(self, data: ArrayData) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = torch.from_numpy(self._data.images[index].copy()).permute(2, 0, 1)
        return image, int(self._data.labels[index])


def test_any_data_set_of_image_and_label_can_be_wrapped(toy_images: Toy) -> None:
    data = toy_images()
    wrapped = ScaeDataset(_Pairs(data), None, None, WHOLE)
    ours = ScaeDataset(data, None, None, WHOLE)
    torch.testing.assert_close(wrapped[5][0], ours[5][0], rtol=0, atol=0)
    assert int(wrapped[5][1]) == 1


def test_a_wrapped_data_set_of_something_else_is_refused_by_sample(toy_images: Toy) -> None:
    class Floats(_Pairs):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            image, label = super().__getitem__(index)
            return image / 255, label

    data = MapStyleData(Floats(toy_images()))
    with pytest.raises(DataError, match=r"image Floats\[2\] must be .* got \(16, 16, 3\) float32"):
        data.read(2)


def test_torchvision_pipelines_are_keyed_and_followed(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish
) -> None:
    data = toy_images()
    publish_maps(data, tmp_path / "c", corner_maps(40))
    pipeline = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.2)], p=0.5),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    policy = erasing_policy(data, lambda_max=200.0, curriculum=False, area=(0.004, 0.004), fill=9.0)
    dataset = ScaeDataset(data, tmp_path / "c", policy, build_transform(pipeline, size=16))
    state = torch.get_rng_state()
    first = dataset.batch(batch_key(list(range(40)), generation=1))
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(99)
    torch.testing.assert_close(
        dataset.batch(batch_key(list(range(40)), generation=1)).images, first.images, rtol=0, atol=0
    )
    alone = dataset.batch(batch_key([17], generation=1))
    torch.testing.assert_close(alone.images[0], first.images[17], rtol=0, atol=0)
    right = ((first.boxes[:, 1] + first.boxes[:, 3]) / 2 > 8).numpy()
    moved = right != (np.arange(40) % 2 == 1)
    assert 5 < moved.sum() < 35


def test_a_pipeline_that_ends_in_the_wrong_size_is_refused(toy_images: Toy) -> None:
    transform = build_transform(v2.ToDtype(torch.float32, scale=True), size=8)
    with pytest.raises(DataError, match=re.escape("8x8 pixels, got (3, 16, 16) torch.float32")):
        ScaeDataset(toy_images(), None, None, transform).batch(batch_key([0]))


def test_images_of_different_sizes_are_cropped_and_resized(toy_images: Toy) -> None:
    transform = StandardTransform(geometry=ResizedCropFlip(8), mean=MEAN, std=STD)
    batch = ScaeDataset(toy_images(), None, None, transform).batch(batch_key([0, 1, 2]))
    assert batch.images.shape == (3, 3, 8, 8)


@pytest.mark.parametrize("geometry", [CropFlip(16), ResizedCropFlip(12), Whole(16)], ids=repr)
def test_files_and_memory_give_the_same_bytes_and_boxes(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish, geometry: CropFlip
) -> None:
    """More images than are decoded together, so that a batch is made in parts."""
    data = toy_images()
    for row in range(len(data)):
        folder = tmp_path / "data" / data.class_names[data.labels[row]]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.images[row]).save(folder / f"{row:02d}.png")
    files = FolderData(tmp_path / "data")
    memory = files.load()
    publish_maps(memory, tmp_path / "c", corner_maps(40))
    transform = StandardTransform(geometry=geometry, mean=MEAN, std=STD)
    policy = erasing_policy(data, p_min=0.5, p_max=0.5, lambda_max=50.0, curriculum=False)
    key = batch_key([*range(39, -1, -1), 5], epoch=1, generation=1)
    first, second = (
        ScaeDataset(source, tmp_path / "c", policy, transform).batch(key)
        for source in (files, memory)
    )
    for name in ("images", "labels", "events", "boxes", "unguided"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert len(set(first.events.tolist())) >= 2


def test_a_folder_can_be_held_in_memory(tmp_path: Path, toy_images: Toy) -> None:
    data = toy_images()
    for row in range(4):
        folder = tmp_path / data.class_names[data.labels[row]]
        folder.mkdir()
        Image.fromarray(data.images[row]).save(folder / "0.png")
    loader = build_loader(FolderData(tmp_path), WHOLE, in_memory=True)
    assert isinstance(loader.dataset.data, ArrayData)
    wrapped = build_loader(_Pairs(data), WHOLE, in_memory=True, sampler="sequential")
    plain = build_loader(_Pairs(data), WHOLE, sampler="sequential")
    assert isinstance(wrapped.dataset.data, ArrayData)
    assert wrapped.dataset.data.fingerprint == plain.dataset.data.fingerprint
    for one, other in zip(wrapped, plain, strict=True):
        assert torch.equal(one.images, other.images)
    Image.fromarray(data.images[0][:8]).save(tmp_path / "a" / "1.png")
    with pytest.raises(DataError, match="must have one size to be held in memory"):
        build_loader(FolderData(tmp_path), WHOLE, in_memory=True)


def test_plain_torchvision_pipeline_is_refused_with_the_way_to_wrap_it(toy_images: Toy) -> None:
    plain = v2.Compose([v2.RandomCrop(32, padding=4)])
    with pytest.raises(GeometryError, match=r"got Compose: wrap a .* as build_transform\(pipeline"):
        ScaeDataset(toy_images(4), None, None, plain)
