"""Batch geometry against torchvision: its laws, its pixels and the views of its kernels."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from loaders.errors import DataError, OptionError
from loaders.geometry import CropFlip, CropParams, ResizedCropFlip, Whole
from loaders.randomness import KeyedStream
from loaders.view import View
from loaders.view_batch import ViewBatch

Bytes = NDArray[np.uint8]


def stream(num: int, purpose: str = "crop") -> KeyedStream:
    return KeyedStream(11, 2, np.arange(num), np.zeros(num, np.int64), purpose)


def images(num: int, size: tuple[int, int]) -> Bytes:
    return np.random.default_rng(8).integers(0, 256, (num, *size, 3)).astype(np.uint8)


def to_image(pixels: Bytes) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def assert_same_views(ours: ViewBatch, theirs: list[View]) -> None:
    """Compare matrices, and the half planes by what they exclude."""
    height, width = ours.size
    y, x = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    places = np.stack((x, y, np.ones_like(x))).reshape(3, -1)
    for row, view in enumerate(theirs):
        assert view.size == ours.size
        np.testing.assert_allclose(ours.matrices[row].ravel(), view.matrix, rtol=0, atol=1e-12)
        kept = (ours.half_planes[row] @ places > 0).all(axis=0)
        expected = (np.reshape(view.half_planes, (-1, 3)) @ places > 0).all(axis=0)
        np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize("image_size", [(32, 32), (40, 36)], ids=["same", "larger"])
def test_crop_flip_equals_torchvision_kernels(image_size: tuple[int, int]) -> None:
    geometry, num = CropFlip(32, padding=4), 40
    params = geometry.draw(num, stream(num), image_size)
    pixels = images(num, image_size)
    output = geometry.apply_arrays(pixels, params).transpose(0, 2, 3, 1)
    views = []
    for row in range(num):
        place = int(params.tops[row]) + 4, int(params.lefts[row]) + 4, 32, 32
        expected = functional.crop(functional.pad(to_image(pixels[row]), [4]), *place)
        view = functional.crop(functional.pad(View.whole(image_size), [4]), *place)
        if params.flips[row]:
            expected, view = functional.hflip(expected), functional.hflip(view)
        np.testing.assert_array_equal(output[row], expected.permute(1, 2, 0).numpy())
        views.append(view)
    assert_same_views(geometry.views(params, image_size), views)


@pytest.mark.parametrize("image_size", [(32, 32), (40, 36)], ids=["same", "larger"])
@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_crop_flip_gives_equal_bytes_one_by_one(image_size: tuple[int, int], kind: str) -> None:
    geometry, num = CropFlip(32, padding=6), 60
    params = geometry.draw(num, stream(num), image_size)
    pixels = images(num, image_size)
    together = geometry.apply_arrays(pixels, params).transpose(0, 2, 3, 1)
    for row in range(num):
        image: Any = torch.from_numpy(pixels[row]) if kind == "tensor" else pixels[row]
        alone = geometry.apply_image(image, params, row)
        assert isinstance(alone, torch.Tensor if kind == "tensor" else np.ndarray)
        np.testing.assert_array_equal(np.asarray(alone), together[row])


def test_crop_flip_is_uniform_over_places_and_sides() -> None:
    num = 81 * 500
    params = CropFlip(32).draw(num, stream(num))
    assert (params.tops.min(), params.tops.max()) == (-4, 4)
    place = (params.tops + 4) * 18 + (params.lefts + 4) * 2 + params.flips
    assert stats.chisquare(np.bincount(place, minlength=162)).pvalue > 1e-4


def test_crop_flip_without_flip_or_padding_is_the_identity() -> None:
    pixels = images(5, (16, 16))
    geometry = CropFlip(16, padding=0, flip=False)
    params = geometry.draw(5, stream(5))
    np.testing.assert_array_equal(
        geometry.apply_arrays(pixels, params), pixels.transpose(0, 3, 1, 2)
    )


def test_no_images_pass_through() -> None:
    geometry = CropFlip(16)
    params = geometry.draw(0, stream(0))
    assert geometry.apply_arrays(images(0, (16, 16)), params).shape == (0, 3, 16, 16)
    sizes = np.zeros((0, 2), np.int64)
    resized = ResizedCropFlip(16)
    assert len(resized.views(resized.draw(sizes, stream(0)), sizes)) == 0


SIZES = np.array([(375, 500), (500, 333), (60, 60), (30, 300), (300, 30), (1, 1)])


def test_resized_crop_flip_equals_torchvision_kernels() -> None:
    geometry, num = ResizedCropFlip(24), 60
    sizes = SIZES[np.arange(num) % len(SIZES)]
    params = geometry.draw(sizes, stream(num))
    views = []
    for row in range(num):
        size = (int(sizes[row, 0]), int(sizes[row, 1]))
        pixels = images(1, size)[0]
        place = [
            int(values[row])
            for values in (params.tops, params.lefts, params.heights, params.widths)
        ]
        expected = functional.resized_crop(to_image(pixels), *place, [24, 24])
        view = functional.resized_crop(View.whole(size), *place, [24, 24])
        if params.flips[row]:
            expected, view = functional.hflip(expected), functional.hflip(view)
        for image in (pixels, torch.from_numpy(pixels)):
            ours = geometry.apply_image(image, params, row)
            assert type(ours) is type(image)
            np.testing.assert_array_equal(np.asarray(ours), expected.permute(1, 2, 0).numpy())
        views.append(view)
    assert_same_views(geometry.views(params, sizes), views)


def reference_crops(size: tuple[int, int], count: int) -> NDArray[np.int64]:
    """Return (top, left, height, width) drawn by torchvision itself."""
    torch.manual_seed(0)
    crop, image = v2.RandomResizedCrop(24), torch.empty((1, *size))
    params = [crop.make_params([image]) for _ in range(count)]
    return np.array([[p["top"], p["left"], p["height"], p["width"]] for p in params])


@pytest.mark.parametrize("size", [(60, 60), (40, 90), (20, 200)], ids=["square", "wide", "strip"])
def test_resized_crop_follows_torchvisions_law(size: tuple[int, int]) -> None:
    num, count = 20_000, 2_000
    params = ResizedCropFlip(24).draw(np.tile(size, (num, 1)), stream(num))
    ours = np.stack((params.tops, params.lefts, params.heights, params.widths), axis=1)
    theirs = reference_crops(size, count)
    for column in range(4):
        assert stats.ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-4
    area, other_area = (crops[:, 2] * crops[:, 3] for crops in (ours, theirs))
    assert stats.ks_2samp(area, other_area).pvalue > 1e-4
    assert params.flips.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("size", "cut"),
    [
        # No cut of 90 % of a strip has an allowed aspect: the central one is taken.
        pytest.param((100, 400), (0, 134, 100, 133), id="wide"),
        pytest.param((400, 90), (140, 0, 120, 90), id="tall"),
    ],
)
def test_hopeless_cuts_fall_back_to_the_centre(size: tuple[int, int], cut: tuple[int, ...]) -> None:
    params = ResizedCropFlip(24, scale=(0.9, 1.0)).draw(np.array([size]), stream(1))
    columns = (params.tops, params.lefts, params.heights, params.widths)
    # torchvision rounds the spare half down: (400 - 133) // 2 = 133.
    expected = (cut[0], (size[1] - cut[3]) // 2, cut[2], cut[3])
    assert tuple(int(values[0]) for values in columns) == expected


def test_parameters_do_not_depend_on_companions() -> None:
    sizes = SIZES[np.arange(30) % len(SIZES)]
    together = ResizedCropFlip(24).draw(sizes, stream(30))
    one = KeyedStream(11, 2, np.array([13]), np.zeros(1, np.int64), "crop")
    alone = ResizedCropFlip(24).draw(sizes[13:14], one)
    for name in CropParams.__dataclass_fields__:
        assert getattr(alone, name)[0] == getattr(together, name)[13]


def test_whole_squashes_the_image() -> None:
    geometry, pixels = Whole(24), images(1, (40, 30))[0]
    expected = functional.resize(to_image(pixels), [24, 24], antialias=True)
    ours = geometry.apply_image(pixels)
    np.testing.assert_array_equal(ours, expected.permute(1, 2, 0).numpy())
    assert_same_views(geometry.views(2), [functional.resize(View.whole((40, 30)), [24, 24])] * 2)


def test_whole_leaves_images_of_its_size_alone() -> None:
    pixels = images(1, (24, 24))[0]
    np.testing.assert_array_equal(Whole(24).apply_image(pixels), pixels)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CropFlip(0), "size must be at least 1, got 0"),
        (lambda: CropFlip(8, padding=-1), "padding must be at least 0, got -1"),
        (lambda: ResizedCropFlip(0), "size must be at least 1, got 0"),
        (lambda: ResizedCropFlip(8, scale=(0.5, 1.5)), r"scale must be .* got \(0.5, 1.5\)"),
        (lambda: ResizedCropFlip(8, ratio=(2.0, 1.0)), r"ratio must be .* got \(2.0, 1.0\)"),
        (lambda: ResizedCropFlip(8, tries=0), "tries must be at least 1, got 0"),
        (lambda: Whole(-3), "size must be at least 1, got -3"),
    ],
)
def test_wrong_options_are_named(make: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(OptionError, match=message):
        make()


def test_images_that_do_not_fit_are_named() -> None:
    geometry = CropFlip(32, padding=1)
    with pytest.raises(DataError, match=r"at least 30 pixels a side, got \(32, 20\)"):
        geometry.draw(2, stream(2), (32, 20))
    params = geometry.draw(2, stream(2))
    with pytest.raises(DataError, match=r"must be \(B, H, W, C\) uint8, got .* float64"):
        geometry.apply_arrays(np.zeros((2, 32, 32, 3)), params)  # type: ignore[arg-type]
