"""Our AutoAugment family against torchvision's: the same images, and views that follow them."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from numpy.typing import NDArray
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import AutoAugmentPolicy, InterpolationMode

from loaders import auto_augment
from loaders.auto_augment import MOVING, STILL, followed_augment
from loaders.errors import GeometryError
from loaders.view import View

SeenBy = Callable[[View], tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]]

STOCK = [
    pytest.param(v2.RandAugment(), id="rand"),
    pytest.param(
        v2.RandAugment(4, 20, 40, InterpolationMode.BILINEAR, [1.0, 2.0, 3.0]), id="rand4"
    ),
    pytest.param(v2.AutoAugment(), id="auto-imagenet"),
    pytest.param(v2.AutoAugment(AutoAugmentPolicy.CIFAR10, fill=7), id="auto-cifar"),
    pytest.param(v2.AutoAugment(AutoAugmentPolicy.SVHN), id="auto-svhn"),
    pytest.param(v2.TrivialAugmentWide(), id="trivial"),
    pytest.param(
        v2.TrivialAugmentWide(fill={tv_tensors.Image: 9, "others": 0}), id="trivial-fills"
    ),
]


def pixels(size: tuple[int, int]) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, *size)).astype(np.uint8))


@pytest.mark.parametrize("stock", STOCK)
@pytest.mark.parametrize("kind", ["image", "tensor", "pil"])
def test_images_equal_torchvisions_for_the_same_seed(stock: v2.Transform, kind: str) -> None:
    ours = followed_augment(stock)
    assert ours is not None
    size = (20, 25)
    inputs: dict[str, Any] = {
        "image": tv_tensors.Image(pixels(size)),
        "tensor": pixels(size),
        "pil": PIL.Image.fromarray(pixels(size).permute(1, 2, 0).numpy()),
    }
    moved = 0
    for seed in range(40):
        torch.manual_seed(seed)
        expected = stock(inputs[kind])
        after = torch.rand(())
        torch.manual_seed(seed)
        image, view = ours(inputs[kind], View.whole(size))
        assert torch.rand(()) == after  # no number more or less was drawn
        assert type(image) is type(expected)
        np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))
        moved += repr(view) != repr(View.whole(size))
    assert moved >= 4


@pytest.mark.parametrize("stock", STOCK)
def test_torchvisions_own_leave_a_view_alone(stock: v2.Transform) -> None:
    # Why this file exists. Should torchvision mend it, ours can go.
    view = View.whole((20, 25))
    for seed in range(20):
        torch.manual_seed(seed)
        assert stock(tv_tensors.Image(pixels((20, 25))), view)[1] is view


def marked(size: tuple[int, int]) -> torch.Tensor:
    """Return an image whose red is the column, green the row, and blue 255."""
    height, width = size
    image = torch.full((3, height, width), 255, dtype=torch.uint8)
    image[0], image[1] = torch.arange(width), torch.arange(height)[:, None]
    return image


MOVING_ONLY = {name: v2.RandAugment._AUGMENTATION_SPACE[name] for name in sorted(MOVING)}


@pytest.mark.parametrize("num_ops", [1, 2, 3])
@pytest.mark.parametrize("cls", [auto_augment.RandAugment, auto_augment.TrivialAugmentWide])
def test_views_follow_what_the_image_does(
    cls: type[Any], num_ops: int, seen_by: SeenBy, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (32, 24)
    transform = cls(num_ops) if cls is auto_augment.RandAugment else cls()
    monkeypatch.setattr(transform, "_AUGMENTATION_SPACE", MOVING_ONLY)
    for seed in range(25):
        torch.manual_seed(seed)
        image, view = transform(tv_tensors.Image(marked(size)), View.whole(size))
        u, v, inside = seen_by(view)
        red, green, blue = image.numpy()
        shown = (blue == 255) & inside
        if num_ops == 1:
            # Torchvision computes in single precision: a place on the very edge may go either way.
            assert (inside != (blue == 255)).sum() <= 2
        else:
            # Each nearest-pixel operation rounds a place, so edges may differ by a pixel or two.
            assert (inside != (blue == 255)).mean() < 0.03 * num_ops
        assert np.abs(u * 24 - 0.5 - red)[shown].max() < 0.75 * num_ops
        assert np.abs(v * 32 - 0.5 - green)[shown].max() < 0.75 * num_ops


def test_every_operation_of_torchvision_is_known() -> None:
    names: set[str] = set()
    for cls in (v2.RandAugment, v2.TrivialAugmentWide, v2.AutoAugment):
        names |= set(cls._AUGMENTATION_SPACE)
    assert names == MOVING | STILL


def test_an_unknown_operation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    transform = auto_augment.RandAugment()
    monkeypatch.setattr(
        transform, "_AUGMENTATION_SPACE", {"Swirl": (lambda *_: torch.ones(31), True)}
    )
    with pytest.raises(GeometryError, match=r"of RandAugment must be one of .*, got Swirl"):
        transform(tv_tensors.Image(pixels((8, 8))), View.whole((8, 8)))


def test_a_torchvision_that_applies_operations_otherwise_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(auto_augment, "_HOOK", "_apply_by_other_means")
    with pytest.raises(GeometryError, match="must apply operations by _apply_by_other_means"):
        auto_augment.AutoAugment()


def test_samples_may_be_nested_and_hold_several_views_or_none() -> None:
    transform = auto_augment.RandAugment(5)
    image, view = tv_tensors.Image(pixels((9, 9))), View.whole((9, 9))
    torch.manual_seed(1)
    alone, followed = transform(image, view)
    assert repr(followed) != repr(view)
    torch.manual_seed(1)
    nested = transform({"image": image, "views": [view, view], "label": 3})
    assert [repr(item) for item in nested["views"]] == [repr(followed)] * 2
    assert nested["label"] == 3
    torch.manual_seed(1)
    assert torch.equal(transform(image), alone)


def test_copies_and_pickles_work() -> None:
    transform = auto_augment.AutoAugment(AutoAugmentPolicy.CIFAR10, fill=3)
    image, view = tv_tensors.Image(pixels((9, 9))), View.whole((9, 9))
    for again in (copy.deepcopy(transform), pickle.loads(pickle.dumps(transform))):
        torch.manual_seed(2)
        expected = transform(image, view)
        torch.manual_seed(2)
        output = again(image, view)
        assert torch.equal(output[0], expected[0])
        assert repr(output[1]) == repr(expected[1])


def test_other_transforms_have_no_counterpart() -> None:
    assert followed_augment(v2.AugMix()) is None
    assert followed_augment(v2.Identity()) is None
