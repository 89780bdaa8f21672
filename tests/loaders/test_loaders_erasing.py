"""Rectangles: their law, their place, and the erasing."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from loaders.erasing import centred_boxes, erase_rectangles, sample_sides
from loaders.errors import DataError, OptionError
from loaders.randomness import KeyedStream

LAW: dict[str, Any] = {"area": (0.02, 0.4), "aspect": (0.3, 1 / 0.3)}


def reference_sides(size: tuple[int, int], count: int, law: str) -> NDArray[np.int64]:
    """Return sides by Random Erasing's loop, one rectangle after the other."""
    rng = np.random.default_rng(99)
    height, width = size
    sides: list[tuple[int, int]] = []
    while len(sides) < count:
        for _ in range(10):
            area = rng.uniform(0.02, 0.4) * height * width
            if law == "log":
                aspect = np.exp(rng.uniform(np.log(0.3), np.log(1 / 0.3)))
            else:
                aspect = rng.uniform(0.3, 1 / 0.3)
            h, w = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
            if h < height and w < width:
                break
        sides.append((min(h, height), min(w, width)))
    return np.array(sides)


@pytest.mark.parametrize("law", ["uniform", "log"])
@pytest.mark.parametrize("size", [(32, 32), (20, 48)], ids=["square", "oblong"])
def test_sides_follow_random_erasing(size: tuple[int, int], law: str) -> None:
    rng = np.random.default_rng(4)
    heights, widths = sample_sides(20_000, size, rng, **LAW, aspect_law=law)
    expected = reference_sides(size, 20_000, law)
    assert stats.ks_2samp(heights, expected[:, 0]).pvalue > 1e-4
    assert stats.ks_2samp(widths, expected[:, 1]).pvalue > 1e-4
    assert stats.ks_2samp(heights * widths, expected.prod(axis=1)).pvalue > 1e-4


def test_area_is_uniform_where_nothing_is_redrawn() -> None:
    rng = np.random.default_rng(0)
    heights, widths = sample_sides(20_000, (1000, 1000), rng, area=(0.02, 0.1), aspect=(0.5, 2.0))
    area = (heights * widths / 1e6 - 0.02) / 0.08
    assert stats.kstest(area, "uniform").pvalue > 1e-4


def test_linear_aspect_favours_tall_rectangles() -> None:
    heights, widths = sample_sides(
        20_000, (1000, 1000), np.random.default_rng(0), area=(0.01, 0.02), aspect=(0.3, 1 / 0.3)
    )
    assert (heights / widths).mean() == pytest.approx(1.82, abs=0.02)


def test_hopeless_pairs_are_cut_to_the_image() -> None:
    heights, widths = sample_sides(
        50, (8, 400), np.random.default_rng(0), area=(0.9, 1.0), aspect=(50.0, 60.0), tries=3
    )
    assert (heights == 8).all()
    assert ((widths >= 1) & (widths <= 400)).all()


def test_first_pair_that_fits_is_taken_else_the_last() -> None:
    class Areas:
        def random(self, shape: tuple[int, int], /) -> NDArray[np.float64]:
            shares = np.array([[1.0, 0.03, 0.01], [0.9, 0.8, 0.6]])
            return np.stack((shares, np.zeros_like(shares)), axis=2).reshape(shape)

    sides = sample_sides(2, (10, 30), Areas(), area=(1e-9, 1.0), aspect=(1, 1), tries=3)
    # Squares of 17, 3 and 2 pixels a side; then of 16, 15 and 13, all too tall.
    assert [side.tolist() for side in sides] == [[3, 10], [3, 13]]


def test_sides_are_at_least_one_pixel() -> None:
    sides = sample_sides(500, (4, 4), np.random.default_rng(0), area=(0.001, 0.01), aspect=(1, 1))
    assert {tuple(np.unique(side)) for side in sides} == {(1,)}


def test_sides_do_not_depend_on_companions() -> None:
    index_B, draw_B = np.arange(30), np.zeros(30, np.int64)
    together = sample_sides(30, (32, 32), KeyedStream(0, 0, index_B, draw_B, "sides"), **LAW)
    alone = sample_sides(1, (32, 32), KeyedStream(0, 0, index_B[7:8], draw_B[:1], "sides"), **LAW)
    assert [side[7] for side in together] == [side[0] for side in alone]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"area": (0.0, 0.4)}, r"area must be .* got \(0.0, 0.4\)"),
        ({"aspect": (2.0, 1.0)}, r"aspect must be .* got \(2.0, 1.0\)"),
        ({"aspect_law": "flat"}, "aspect_law must be one of uniform, log, got 'flat'"),
        ({"tries": 0}, "tries must be at least 1, got 0"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        sample_sides(1, (8, 8), np.random.default_rng(0), **options)


@pytest.mark.parametrize(
    ("centre", "sides", "border", "box"),
    [
        pytest.param((10, 12), (4, 6), "clip", (8, 9, 12, 15), id="even"),
        pytest.param((10, 12), (5, 3), "clip", (8, 11, 13, 14), id="odd"),
        pytest.param((0, 19), (6, 6), "clip", (0, 16, 3, 20), id="cut-at-corner"),
        pytest.param((0, 19), (6, 6), "shift", (0, 14, 6, 20), id="shifted-inside"),
        pytest.param((8, 10), (16, 20), "shift", (0, 0, 16, 20), id="whole-image"),
        pytest.param((15, 0), (1, 1), "clip", (15, 0, 16, 1), id="one-pixel"),
    ],
)
def test_boxes_lie_around_their_centres(
    centre: tuple[int, int], sides: tuple[int, int], border: str, box: tuple[int, ...]
) -> None:
    boxes = centred_boxes(
        np.array([centre]), np.array([sides[0]]), np.array([sides[1]]), (16, 20), border=border
    )
    assert boxes.tolist() == [list(box)]
    assert boxes.dtype == np.int64


def test_every_clipped_box_holds_its_centre() -> None:
    rng = np.random.default_rng(1)
    centres = rng.integers(0, (16, 20), (1000, 2))
    heights, widths = rng.integers(1, 16, 1000), rng.integers(1, 20, 1000)
    y0, x0, y1, x1 = centred_boxes(centres, heights, widths, (16, 20)).T
    assert ((y0 <= centres[:, 0]) & (centres[:, 0] < y1)).all()
    assert ((x0 <= centres[:, 1]) & (centres[:, 1] < x1)).all()
    assert (y0.min(), x0.min(), y1.max(), x1.max()) == (0, 0, 16, 20)


def test_unknown_border_is_named() -> None:
    with pytest.raises(OptionError, match="border must be one of clip, shift, got 'wrap'"):
        centred_boxes(
            np.zeros((1, 2), int), np.ones(1, int), np.ones(1, int), (4, 4), border="wrap"
        )


def erased_pixel_by_pixel(
    images: NDArray[Any], boxes: NDArray[np.int64], fill: float | tuple[float, ...]
) -> NDArray[Any]:
    output = images.copy()
    for b, c, y, x in np.ndindex(*images.shape):
        y0, x0, y1, x1 = boxes[b]
        if y0 <= y < y1 and x0 <= x < x1:
            output[b, c, y, x] = fill[c] if isinstance(fill, tuple) else fill
    return output


BOXES = np.array([[0, 0, 3, 2], [2, 1, 5, 7], [4, 4, 4, 6], [3, 3, 3, 3], [0, 0, 6, 7]])


@pytest.mark.parametrize("fill", [0.0, 1.5, (1.0, -2.0, 3.0)], ids=["zero", "value", "channels"])
@pytest.mark.parametrize("kind", ["numpy", "float32", "float64", "float16", "bfloat16", "view"])
def test_erasing_equals_pixel_by_pixel(kind: str, fill: float | tuple[float, ...]) -> None:
    values = np.random.default_rng(0).integers(-8, 8, (5, 3, 6, 7)).astype(np.float32)
    expected = erased_pixel_by_pixel(values, BOXES, fill)
    if kind == "numpy":
        array = values.copy()
        assert erase_rectangles(array, BOXES, fill) is array
        np.testing.assert_array_equal(array, expected)
        return
    tensor = torch.from_numpy(values.copy())
    if kind == "view":  # channels last in memory
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    else:
        tensor = tensor.to(getattr(torch, kind))
    assert erase_rectangles(tensor, BOXES, fill) is tensor
    np.testing.assert_array_equal(tensor.float().numpy(), expected)


def test_erasing_bytes_keeps_their_type() -> None:
    images = np.full((1, 3, 4, 4), 9, dtype=np.uint8)
    erase_rectangles(images, np.array([[1, 1, 3, 3]]), 7)
    assert images.dtype == np.uint8
    assert images.sum() == 3 * (12 * 9 + 4 * 7)


@pytest.mark.parametrize(
    ("shape", "boxes", "fill", "message"),
    [
        pytest.param((2, 3, 4), BOXES[:2], 0.0, r"got \(2, 3, 4\)", id="rank"),
        pytest.param((2, 3, 4, 4), BOXES, 0.0, r"boxes \(5, 4\)", id="count"),
        pytest.param((5, 3, 6, 7), BOXES - 1, 0.0, "got -1", id="negative"),
        pytest.param((5, 3, 6, 7), BOXES, (0.0, 1.0), r"or 3, got \(0.0, 1.0\)", id="fill"),
    ],
)
def test_arrays_that_do_not_fit_are_named(
    shape: tuple[int, ...],
    boxes: NDArray[np.int64],
    fill: float | tuple[float, ...],
    message: str,
) -> None:
    with pytest.raises(DataError, match=message):
        erase_rectangles(np.zeros(shape), boxes, fill)
