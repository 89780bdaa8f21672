import hashlib
import re
import subprocess
import sys

import numpy as np
import pytest

from loaders.errors import DataError, OptionError
from loaders.image_data import ArrayData
from loaders.long_tail import long_tail_rows
from loaders.shapes import IMAGES_PER_CLASS, open_shapes, render_shapes
from loaders.shapes_forms import FORM_NAMES, form_templates

GOLDEN = "cd642610fca1aec59054a1ab8066f6e2301dce903577189990ee8021ae307dcb"
"""SHA-256 of the images and masks of 20 scenes: caches of `shapes` depend on these very bytes."""


def _digest() -> str:
    images, masks = render_shapes("train", np.arange(20), np.arange(20))
    return hashlib.sha256(images.tobytes() + masks.tobytes()).hexdigest()


def test_scenes_are_the_bytes_they_always_were() -> None:
    assert _digest() == GOLDEN


def test_scenes_are_equal_in_another_process() -> None:
    code = (
        "import hashlib, sys, numpy as np; from loaders.shapes import render_shapes;"
        "images, masks = render_shapes('train', np.arange(20), np.arange(20));"
        "sys.stdout.write(hashlib.sha256(images.tobytes() + masks.tobytes()).hexdigest());"
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-P", "-c", code]
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout == _digest()


def test_a_scene_does_not_depend_on_its_companions() -> None:
    labels_N, indices_N = np.arange(40) % 20, np.arange(40) // 20
    images, masks = render_shapes("train", labels_N, indices_N)
    chosen = np.array([39, 3, 17, 3])
    again, masks_again = render_shapes("train", labels_N[chosen], indices_N[chosen])
    np.testing.assert_array_equal(again, images[chosen])
    np.testing.assert_array_equal(masks_again, masks[chosen])


@pytest.mark.parametrize("change", ["split", "seed", "index", "class"])
def test_a_scene_depends_on_every_part_of_its_key(change: str) -> None:
    base, _ = render_shapes("train", [3], [5])
    other, _ = render_shapes(
        "test" if change == "split" else "train",
        [4 if change == "class" else 3],
        [6 if change == "index" else 5],
        seed=1 if change == "seed" else 0,
    )
    assert np.count_nonzero(base != other) > 2000


def test_the_long_tail_is_a_subset_of_all_scenes() -> None:
    full = open_shapes(imbalance=1, num_classes=2)
    tail = open_shapes(imbalance=40, num_classes=2, subset_seed=3)
    assert tail.class_counts.tolist() == [650, 16]
    picked = full.subset(long_tail_rows(full.labels, 40, 3))
    np.testing.assert_array_equal(tail.images, picked.images)
    np.testing.assert_array_equal(tail.masks, picked.masks)
    assert tail.fingerprint == picked.fingerprint


def test_the_test_split_is_balanced_and_shares_no_scene_with_training() -> None:
    test = open_shapes("test", num_classes=3, imbalance=100)
    assert test.class_counts.tolist() == [IMAGES_PER_CLASS["test"]] * 3
    train, _ = render_shapes("train", test.labels, np.arange(150) % 50)
    test_bytes = {image.tobytes() for image in test.images}
    assert test_bytes.isdisjoint(image.tobytes() for image in train)


def test_data_set_has_the_shapes_and_names_that_it_promises(small_shapes: ArrayData) -> None:
    assert small_shapes.images.shape == (40, 32, 32, 3)
    assert small_shapes.images.dtype == np.uint8
    assert small_shapes.masks is not None
    assert small_shapes.masks.shape == (40, 32, 32)
    assert small_shapes.masks.dtype == np.bool_
    assert small_shapes.describe(17) == "shapes[17]"
    assert small_shapes.class_names == ("disc", "cross", "ring", "triangle")
    assert len(set(FORM_NAMES)) == 20


def test_every_object_is_visible_inside_its_mask() -> None:
    labels_N = np.arange(200) % 20
    images, masks = render_shapes("train", labels_N, np.arange(200) // 20)
    share_N = masks.mean(axis=(1, 2))
    assert share_N.min() > 0.03
    assert share_N.max() < 0.45
    for image_HWC, mask_HW in zip(images.astype(float), masks, strict=True):
        inside, outside = image_HWC[mask_HW], image_HWC[~mask_HW]
        # The object has one colour, the rest many: medians differ far beyond the pixel noise.
        assert np.abs(np.median(inside, axis=0) - np.median(outside, axis=0)).sum() > 60


def test_the_object_is_where_its_mask_says() -> None:
    # Two scenes that differ in the class alone have different keys, so nothing can be compared
    # pixel by pixel; but within a mask the colour is even up to shading and noise.
    labels_N = np.zeros(40, np.int64)
    images, masks = render_shapes("train", labels_N, np.arange(40))
    spread_N = [image[mask].std(axis=0).mean() for image, mask in zip(images, masks, strict=True)]
    whole_N = [image.std(axis=(0, 1)).mean() for image in images]
    assert np.median(spread_N) < 0.5 * np.median(whole_N)


def test_colour_and_place_say_nothing_of_the_class() -> None:
    # Oracle: with 300 scenes a class, class means of any class-blind property agree within noise.
    labels_N = np.repeat([0, 5], 300)
    images, masks = render_shapes("train", labels_N, np.tile(np.arange(300), 2))
    colours = [image[mask].mean(axis=0) for image, mask in zip(images, masks, strict=True)]
    places = [np.argwhere(mask).mean(axis=0) for mask in masks]
    for values in (np.array(colours), np.array(places)):
        first, second = values[:300], values[300:]
        error = np.sqrt(first.var(axis=0) / 300 + second.var(axis=0) / 300)
        assert (np.abs(first.mean(axis=0) - second.mean(axis=0)) < 4 * error).all()


def test_forms_differ_also_when_mirrored_and_turned() -> None:
    def best_overlap(one: np.ndarray, two: np.ndarray) -> float:
        from PIL import Image

        overlaps = []
        for degrees in (-17, 0, 17):
            turned = np.asarray(Image.fromarray(one).rotate(degrees)) > 0
            overlaps += [(turned & two).sum() / (turned | two).sum()]
        return float(max(overlaps))

    templates = form_templates()
    for k, one in enumerate(templates):
        for j, two in enumerate(templates):
            if k != j:
                assert best_overlap(one, two) < 0.8, (FORM_NAMES[k], FORM_NAMES[j])
                assert best_overlap(one[:, ::-1].copy(), two) < 0.8, (FORM_NAMES[k], FORM_NAMES[j])


@pytest.mark.parametrize("num_classes", [1, 21])
def test_shapes_reject_a_number_of_classes_they_do_not_have(num_classes: int) -> None:
    with pytest.raises(DataError, match=f"must be 2 to 20, got {num_classes}"):
        open_shapes(num_classes=num_classes)


def test_shapes_reject_an_imbalance_that_empties_a_class() -> None:
    with pytest.raises(DataError, match=re.escape("must be 650 or less, got 1000")):
        open_shapes(imbalance=1000, num_classes=2)


def test_shapes_reject_an_unknown_split() -> None:
    with pytest.raises(OptionError, match="must be 'train' or 'test', got 'valid'"):
        open_shapes("valid")
