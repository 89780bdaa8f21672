"""Centres against Eq. 4 evaluated at every pixel with torch's own upsampling."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from loaders.centres import sample_centres
from loaders.errors import DataError, GeometryError, OptionError
from loaders.randomness import KeyedStream
from loaders.view import View
from loaders.view_batch import ViewBatch
from tests.loaders.centre_counts import CHUNK, counted, eq4, normalised

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Upsampled = Callable[[Bytes, tuple[int, int]], Floats]
ChiSquare = Callable[[Floats, Floats], float]


@pytest.mark.parametrize("lam", [-2.0, 0.0, 1.0, 2.0, 8.0])
@pytest.mark.parametrize("size", [(16, 16), (15, 26)], ids=["square", "oblong"])
def test_draws_follow_eq4_on_whole_images(
    map_hw: NDArray[np.uint8],
    size: tuple[int, int],
    lam: float,
    upsampled: Upsampled,
    chi_square: ChiSquare,
) -> None:
    expected = eq4(normalised(upsampled(map_hw, size)), lam)
    assert chi_square(counted(map_hw, size, lam), expected) > 1e-4


@pytest.mark.parametrize("lam", [200.0, -200.0])
@pytest.mark.parametrize("size", [(14, 20)])
def test_rows_that_no_try_serves_are_inverted_exactly(
    map_hw: NDArray[np.uint8],
    size: tuple[int, int],
    lam: float,
    upsampled: Upsampled,
    chi_square: ChiSquare,
) -> None:
    expected = eq4(normalised(upsampled(map_hw, size)), lam)
    counts = counted(map_hw, size, lam, num_draws=20_000)
    assert chi_square(counts, expected) > 1e-4


def test_flat_and_missing_maps_give_uniform_centres(chi_square: ChiSquare) -> None:
    size, uniform = (12, 15), np.full((12, 15), 1 / 180)
    flat = np.full((4, 4), 90, dtype=np.uint8)
    assert chi_square(counted(flat, size, 2.0), uniform) > 1e-4
    bumpy = np.arange(16, dtype=np.uint8).reshape(4, 4)
    zeros_B = np.zeros(CHUNK, dtype=np.float32)
    missing = counted(bumpy, size, 2.0, gains=zeros_B, floors=zeros_B)
    assert chi_square(missing, uniform) > 1e-4


def test_view_outside_the_image_gives_uniform_centres(
    map_hw: NDArray[np.uint8], chi_square: ChiSquare
) -> None:
    size, uniform = (12, 15), np.full((12, 15), 1 / 180)
    beyond = View.whole((10, 10)).padded(20, 20, 20, 20).cropped(0, 0, *size)
    assert chi_square(counted(map_hw, size, 2.0, view=beyond), uniform) > 1e-4


def test_each_row_has_its_own_lambda(
    map_hw: NDArray[np.uint8], upsampled: Upsampled, chi_square: ChiSquare
) -> None:
    size = (16, 16)
    maps = np.broadcast_to(map_hw, (60_000, 5, 6))
    lam_B = np.where(np.arange(60_000) % 2 == 0, 2.0, -2.0)
    drawn = sample_centres(maps, size, lam_B, np.random.default_rng(0))
    saliency = normalised(upsampled(map_hw, size))
    for start, lam in ((0, 2.0), (1, -2.0)):
        counts = np.zeros(size)
        np.add.at(counts, tuple(drawn[start::2].T), 1)
        assert chi_square(counts, eq4(saliency, lam)) > 1e-4


def test_hand_computed_density_ratio_is_e_to_the_lambda() -> None:
    # Two cells, two pixels: A_hat is 0 and 1, so P is 1 : e**2.
    maps = np.broadcast_to(np.array([[0, 255]], dtype=np.uint8), (CHUNK, 1, 2))
    drawn = sample_centres(maps, (1, 2), 2.0, np.random.default_rng(1))
    share = np.exp(2.0) / (1 + np.exp(2.0))
    assert stats.binomtest(int(drawn[:, 1].sum()), CHUNK, share).pvalue > 1e-4


def test_centres_do_not_depend_on_companions() -> None:
    rng = np.random.default_rng(5)
    maps = rng.integers(0, 256, (64, 7, 7)).astype(np.uint8)
    index_B, draw_B = np.arange(64), np.zeros(64, np.int64)
    together = sample_centres(maps, (32, 40), 6.0, KeyedStream(0, 1, index_B, draw_B, "centre"))
    for rows in (np.array([3]), np.array([60, 3, 17]), np.arange(20, 50)):
        stream = KeyedStream(0, 1, index_B[rows], draw_B[rows], "centre")
        np.testing.assert_array_equal(
            sample_centres(maps[rows], (32, 40), 6.0, stream), together[rows]
        )


def test_uint8_and_float_maps_agree() -> None:
    maps = np.random.default_rng(5).integers(0, 256, (40, 7, 7)).astype(np.uint8)
    ours = sample_centres(maps, (20, 20), 2.0, np.random.default_rng(0))
    theirs = sample_centres(maps / 255.0, (20, 20), 2.0, np.random.default_rng(0))
    np.testing.assert_array_equal(ours, theirs)
    assert ours.dtype == np.int64
    assert ours.shape == (40, 2)


def test_a_sequence_of_views_serves_like_a_batch() -> None:
    maps = np.random.default_rng(5).integers(0, 256, (8, 7, 7)).astype(np.uint8)
    views = [View.whole((20, 20)).cropped(row - 4, 2 - row, 16, 16) for row in range(8)]
    ours = sample_centres(maps, (16, 16), 2.0, np.random.default_rng(0), views=views)
    theirs = sample_centres(
        maps, (16, 16), 2.0, np.random.default_rng(0), views=ViewBatch.stack(views)
    )
    np.testing.assert_array_equal(ours, theirs)


def test_no_maps_give_no_centres() -> None:
    nothing = np.zeros((0, 7, 7), dtype=np.uint8)
    drawn = sample_centres(nothing, (8, 8), 2.0, np.random.default_rng(0), views=[])
    assert drawn.shape == (0, 2)


MAPS = np.zeros((3, 4, 4), dtype=np.uint8)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        pytest.param({"maps": MAPS[0]}, DataError, r"must be \(B, h, w\).*\(4, 4\)", id="rank"),
        pytest.param({"maps": MAPS.astype(int)}, DataError, "got int64", id="integers"),
        pytest.param({"maps": MAPS + 1.5}, DataError, "got 1.5 to 1.5; divide", id="above-one"),
        pytest.param({"maps": MAPS + np.nan}, DataError, "got nan to nan", id="nan-map"),
        pytest.param({"size": (0, 4)}, DataError, r"got \(0, 4\)", id="no-pixels"),
        pytest.param({"lam": np.inf}, OptionError, "lam must be finite, got inf", id="infinite"),
        pytest.param({"lam": np.zeros(2)}, OptionError, r"\(3,\), got shape \(2,\)", id="lambdas"),
        pytest.param({"gains": np.ones(3)}, DataError, "both be given", id="gains-alone"),
        pytest.param(
            {"gains": np.ones(2), "floors": np.ones(3)},
            DataError,
            r"gains must be \(3,\), got \(2,\)",
            id="gains-length",
        ),
        pytest.param(
            {"views": ViewBatch.whole(2, (8, 8))}, DataError, "one a map, 3, got 2", id="views"
        ),
        pytest.param(
            {"views": ViewBatch.whole(3, (8, 9))}, DataError, r"got \(8, 9\)", id="views-size"
        ),
        pytest.param({"views": []}, GeometryError, "got no view", id="no-views"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    complete: dict[str, Any] = {"maps": MAPS, "size": (8, 8), "lam": 1.0, **arguments}
    with pytest.raises(error, match=message):
        sample_centres(rng=np.random.default_rng(0), **complete)
