"""Gains and look-ups against torch's own upsampling at every pixel."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional

from loaders.centres import exact_gains, look_up
from loaders.errors import DataError
from loaders.lookup import SaliencyField
from loaders.view import View
from loaders.view_batch import ViewBatch

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Upsampled = Callable[[Bytes, tuple[int, int]], Floats]

IMAGE_SIZE = (18, 19)


@settings(max_examples=150, deadline=None)
@given(
    map_hw=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_exact_gains_equal_the_extremes_over_all_pixels(
    map_hw: NDArray[np.uint8], size: tuple[int, int], upsampled: Upsampled
) -> None:
    values = upsampled(map_hw, size)
    gains, floors = exact_gains(map_hw[None], size)
    assert gains.dtype == floors.dtype == np.float32
    spread = values.max() - values.min()
    np.testing.assert_allclose(floors[0], values.min(), rtol=1e-6, atol=1e-7)
    if spread > 2e-6:
        np.testing.assert_allclose(gains[0], 1 / spread, rtol=1e-6)
    elif spread < 5e-7:
        assert gains[0] == 0


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        pytest.param((7, 7), (224, 224), id="imagenet"),
        pytest.param((8, 8), (32, 32), id="cifar"),
        pytest.param((1, 9), (20, 50), id="one-row"),
        pytest.param((9, 1), (20, 50), id="one-column"),
        pytest.param((14, 14), (5, 3), id="image-smaller-than-map"),
        pytest.param((1, 1), (6, 6), id="one-cell"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_exact_gains_hold_for_batches(
    shape: tuple[int, int], size: tuple[int, int], seed: int, upsampled: Upsampled
) -> None:
    maps = np.random.default_rng(seed).integers(0, 256, (5, *shape)).astype(np.uint8)
    gains, floors = exact_gains(maps, size)
    for row in range(5):
        values = upsampled(maps[row], size)
        spread = values.max() - values.min()
        np.testing.assert_allclose(floors[row], values.min(), rtol=1e-6)
        np.testing.assert_allclose(gains[row], 1 / spread if spread > 1e-6 else 0, rtol=1e-6)


def test_look_up_equals_dense_saliency_at_every_pixel(
    map_hw: NDArray[np.uint8], upsampled: Upsampled
) -> None:
    gains, floors = exact_gains(map_hw[None], IMAGE_SIZE)
    view = View.whole(IMAGE_SIZE).padded(4, 4, 4, 4).cropped(7, 1, 18, 19).flipped(horizontal=True)
    whole = upsampled(map_hw, IMAGE_SIZE)
    whole = (whole - whole.min()) / (whole.max() - whole.min())
    expected = np.pad(whole, 4)[7:25, 1:20][:, ::-1]
    ys, xs = np.indices(expected.shape).reshape(2, 1, -1)
    ours = look_up(map_hw[None], gains, floors, ViewBatch.stack([view]), ys, xs)
    np.testing.assert_allclose(ours.reshape(expected.shape), expected, rtol=0, atol=1e-6)


def test_look_up_gives_zero_for_rows_without_a_gain(map_hw: NDArray[np.uint8]) -> None:
    zero = np.zeros(1, dtype=np.float32)
    ys, xs = np.indices(IMAGE_SIZE).reshape(2, 1, -1)
    ours = look_up(map_hw[None], zero, zero, ViewBatch.whole(1, IMAGE_SIZE), ys, xs)
    assert not ours.any()


def test_look_up_rejects_another_number_of_views(map_hw: NDArray[np.uint8]) -> None:
    zero, one = np.zeros(1, dtype=np.float32), np.zeros((1, 1), dtype=np.int64)
    with pytest.raises(DataError, match="views must be one a map, 1, got 2"):
        look_up(map_hw[None], zero, zero, ViewBatch.whole(2, IMAGE_SIZE), one, one)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    turn=st.sampled_from(["none", "quarter", "slanted", "perspective", "horizon"]),
    frame=st.booleans(),
)
def test_bounds_enclose_what_a_view_sees(*, seed: int, turn: str, frame: bool) -> None:
    rng = np.random.default_rng(seed)
    map_hw = rng.integers(0, 256, (5, 6)).astype(np.uint8)
    top, left, height, width = (int(value) for value in rng.integers(1, 12, 4))
    view = View.whole((24, 24)).cropped(top, left, height, width).resized((9, 11))
    if frame:
        view = view.padded(1, 0, 0, 2)
    if turn == "quarter":  # rows of the output are columns of the map
        view = functional.rotate(view, 90, expand=True)
    elif turn == "slanted":
        view = functional.rotate(view, float(rng.uniform(-180, 180)))
    elif turn != "none":
        tilt = -0.02 if turn == "perspective" else -0.2  # beyond x = 5 there is nothing
        coefficients = [1.0, 0.1, 0.0, 0.0, 1.0, 0.0, tilt, 0.01]
        view = functional.perspective(view, None, None, coefficients=coefficients)
    gains, floors = exact_gains(map_hw[None], (24, 24))
    field = SaliencyField.build(map_hw[None], gains, floors, ViewBatch.stack([view]))
    dense = field.dense()[0]
    low, high = (float(bound[0]) for bound in field.bounds())
    assert low - 1e-12 <= dense.min()
    assert dense.max() <= high + 1e-12
    ys, xs = np.indices(view.size).reshape(2, 1, -1)
    at = field.at(xs.astype(float) + 0.5, ys.astype(float) + 0.5).reshape(view.size)
    np.testing.assert_allclose(dense, at, rtol=0, atol=1e-12)


def test_bounds_come_from_the_cells_in_sight() -> None:
    # Native rows 0, 0, 1, 1, 1; of 10 pixel rows the last four read cells 2 to 4 only.
    map_hw = np.repeat(np.array([[0], [0], [255], [255], [255]], dtype=np.uint8), 5, axis=1)
    one = np.ones(1, dtype=np.float32)
    bounds = []
    for top in (0, 6):
        views = ViewBatch.stack([View.whole((10, 10)).cropped(top, 0, 4, 10)])
        field = SaliencyField.build(map_hw[None], one, 0 * one, views)
        bounds.append([float(bound[0]) for bound in field.bounds()])
    assert bounds == [[0.0, 1.0], [1.0, 1.0]]
