"""SCAE's erasing end to end: the equations as a user's training loop sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from loaders.geometry import CropFlip
from loaders.image_data import ArrayData
from loaders.policy import Event
from loaders.scae_dataset import ScaeDataset
from loaders.transforms import StandardTransform
from tests.loaders.conftest import MEAN, STD
from tests.loaders.erased_batches import STANDARD, WHOLE, batch_key, corner_maps, erasing_policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cache_store.generation import Generation

    Toy = Callable[..., ArrayData]
    Publish = Callable[..., Generation]


def test_untouched_images_are_normalised_pixels(toy_images: Toy) -> None:
    data = toy_images()
    images, labels = ScaeDataset(data, None, None, WHOLE).batch(batch_key([3, 1]))
    expected = (data.images[[3, 1]] / 255 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(images.permute(0, 2, 3, 1).numpy(), expected, atol=2e-6)
    assert labels.tolist() == [3, 1]


def test_erased_pixels_are_the_box_and_nothing_else(toy_images: Toy) -> None:
    data = toy_images()
    plain = ScaeDataset(data, None, None, STANDARD).batch(batch_key(list(range(40))))
    erased = ScaeDataset(data, None, erasing_policy(data), STANDARD).batch(
        batch_key(list(range(40)))
    )
    assert (erased.events == Event.ERASE).all()
    for row in range(40):
        y0, x0, y1, x1 = erased.boxes[row].tolist()
        expected = plain.images[row].clone()
        expected[:, y0:y1, x0:x1] = 0
        assert (y1 - y0) * (x1 - x0) > 0
        torch.testing.assert_close(erased.images[row], expected, rtol=0, atol=0)


def test_rectangles_gather_where_the_cached_map_is_salient(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish
) -> None:
    data = toy_images()
    publish_maps(data, tmp_path / "c", corner_maps(40))
    policy = erasing_policy(data, lambda_max=200.0, curriculum=False, area=(0.004, 0.004))
    dataset = ScaeDataset(data, tmp_path / "c", policy, WHOLE)
    boxes = dataset.batch(batch_key(list(range(40)), generation=1)).boxes.numpy()
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    rows = np.arange(40)
    np.testing.assert_array_equal(centres[:, 0] > 8, rows // 2 % 2 == 1)
    np.testing.assert_array_equal(centres[:, 1] > 8, rows % 2 == 1)


def test_rectangles_follow_the_flip_of_their_image(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish
) -> None:
    """A map used without the view would put half of the boxes on the wrong side."""
    data = toy_images()
    publish_maps(data, tmp_path / "c", corner_maps(40))
    policy = erasing_policy(data, lambda_max=200.0, curriculum=False, area=(0.004, 0.004))
    transform = StandardTransform(geometry=CropFlip(16, padding=0), mean=MEAN, std=STD)
    erased = ScaeDataset(data, tmp_path / "c", policy, transform)
    plain = ScaeDataset(data, None, None, transform)
    key = batch_key(list(range(40)), generation=1)
    boxes = erased.batch(key).boxes.numpy()
    right = (boxes[:, 1] + boxes[:, 3]) / 2 > 8
    whole = ScaeDataset(data, None, None, WHOLE).batch(key).images
    flipped = np.array(
        [
            not torch.equal(image, original)
            for image, original in zip(plain.batch(key).images, whole, strict=True)
        ]
    )
    assert 5 < flipped.sum() < 35
    np.testing.assert_array_equal(right, (np.arange(40) % 2 == 1) ^ flipped)


def test_data_in_another_order_still_finds_its_own_maps(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish
) -> None:
    publish_maps(toy_images(), tmp_path / "c", corner_maps(40))
    rows = np.random.default_rng(1).permutation(40)[:30].tolist()
    data = toy_images(rows=rows)
    policy = erasing_policy(data, lambda_max=200.0, curriculum=False, area=(0.004, 0.004))
    dataset = ScaeDataset(data, tmp_path / "c", policy, WHOLE)
    boxes = dataset.batch(batch_key(list(range(30)), generation=1)).boxes.numpy()
    right = (boxes[:, 1] + boxes[:, 3]) / 2 > 8
    np.testing.assert_array_equal(right, np.array(rows) % 2 == 1)


def test_lambda_grows_with_the_epoch(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish
) -> None:
    data = toy_images()
    publish_maps(data, tmp_path / "c", np.repeat(corner_maps(4)[3:4], 40, 0))
    dataset = ScaeDataset(data, tmp_path / "c", erasing_policy(data, lambda_max=40.0), WHOLE)
    means = []
    for epoch in (0, 3):
        boxes = dataset.batch(batch_key(list(range(40)), epoch, 1)).boxes.float()
        means.append(float(((boxes[:, 0] + boxes[:, 2]) / 2).mean()))
    assert means[0] < 10 < 11 < means[1]


def test_without_a_map_centres_are_uniform_and_counted(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish
) -> None:
    data = toy_images()
    maps = corner_maps(40)
    maps[::2] = 0
    publish_maps(data, tmp_path / "c", maps)
    dataset = ScaeDataset(data, tmp_path / "c", erasing_policy(data), WHOLE)
    batch = dataset.batch(batch_key(list(range(40)), 1, 1))
    np.testing.assert_array_equal(batch.unguided.numpy(), np.arange(40) % 2 == 0)
    assert dataset.batch(batch_key(list(range(40)), 1, 0)).unguided.all()


def test_epochs_and_generations_change_the_batches(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish
) -> None:
    data = toy_images()
    publish_maps(data, tmp_path / "c", corner_maps(40), epoch=0)
    publish_maps(data, tmp_path / "c", corner_maps(40)[::-1].copy(), epoch=1)
    dataset = ScaeDataset(
        data, tmp_path / "c", erasing_policy(data, lambda_max=50.0, curriculum=False), WHOLE
    )
    boxes = {
        (epoch, generation): dataset.batch(batch_key(list(range(40)), epoch, generation)).boxes
        for epoch in (0, 1)
        for generation in (0, 1, 2)
    }
    for first in boxes:
        for second in boxes:
            assert torch.equal(boxes[first], boxes[second]) == (first == second)
