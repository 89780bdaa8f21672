"""Quantised maps equal exact rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from pipeline.saliency.quantise import quantise

FloatMaps = NDArray[np.float32]

any_maps = npst.arrays(
    np.float32,
    npst.array_shapes(min_dims=3, max_dims=3, max_side=4),
    elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
)
saliency_maps = npst.arrays(
    np.float32,
    npst.array_shapes(min_dims=3, max_dims=3, max_side=4),
    elements=st.floats(0, 2.0**100, width=32),
)


def exact_levels(map_hw: FloatMaps) -> NDArray[np.uint8]:
    """Divide and round as integers: Python rounds fractions half to even."""
    maximum = Fraction(float(map_hw.max()))
    if not maximum:
        return np.zeros(map_hw.shape, np.uint8)
    levels = [round(Fraction(float(value)) * 255 / maximum) for value in map_hw.flat]
    return np.array(levels, np.uint8).reshape(map_hw.shape)


@given(saliency_maps)
def test_levels_equal_exact_arithmetic(maps: FloatMaps) -> None:
    levels = quantise(maps)
    assert levels.dtype == np.uint8
    for map_hw, levels_hw in zip(maps, levels, strict=True):
        np.testing.assert_array_equal(levels_hw, exact_levels(map_hw))


@given(any_maps)
def test_every_map_is_flat_or_reaches_255(maps: FloatMaps) -> None:
    levels = quantise(maps)
    usable = np.isfinite(maps).all(axis=(1, 2)) & (maps > 0).any(axis=(1, 2))
    np.testing.assert_array_equal(levels.max(axis=(1, 2)), np.where(usable, 255, 0))


@given(saliency_maps, st.integers(-20, 20))
def test_levels_do_not_depend_on_the_scale(maps: FloatMaps, power: int) -> None:
    scaled = (maps.astype(np.float64) * 2.0**power).astype(np.float32)
    exact = scaled.astype(np.float64) == maps.astype(np.float64) * 2.0**power
    if exact.all():
        np.testing.assert_array_equal(quantise(scaled), quantise(maps))


@given(any_maps)
def test_maps_are_quantised_one_by_one(maps: FloatMaps) -> None:
    alone = np.concatenate([quantise(maps[row : row + 1]) for row in range(len(maps))])
    np.testing.assert_array_equal(quantise(maps), alone)


def test_halves_are_rounded_to_even() -> None:
    maps = np.array([[[510, 1, 3, 5, 7, 0]]], np.float32)
    np.testing.assert_array_equal(quantise(maps), [[[255, 0, 2, 2, 4, 0]]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_map_that_is_not_finite_is_flat_and_spares_its_neighbour(value: float) -> None:
    maps = np.array([[[1, value]], [[1, 2]]], np.float32)
    np.testing.assert_array_equal(quantise(maps), [[[0, 0]], [[128, 255]]])


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_map_without_positive_values_is_flat(value: float) -> None:
    assert not quantise(np.full((2, 3, 3), value, np.float32)).any()


def test_empty_batch_stays_empty() -> None:
    assert quantise(np.zeros((0, 7, 7), np.float32)).shape == (0, 7, 7)


@pytest.mark.parametrize(
    "maps",
    [np.zeros((2, 2), np.float32), np.zeros((1, 2, 2), np.float64), np.zeros((1, 0, 2), "f4")],
    ids=["no-batch", "float64", "no-cells"],
)
def test_quantise_rejects_other_arrays(maps: FloatMaps) -> None:
    with pytest.raises(ValueError, match=r"maps must be \(B, h, w\) float32, got \("):
        quantise(maps)
