"""Gains and floors against every pixel of a dense up-sampling, and whatever rows lie beside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from cache_store.gains import PART_ROWS, gains_and_floors

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _extremes(one: NDArray[np.uint8], size: tuple[int, int]) -> tuple[float, float]:
    (h, w), (height, width) = one.shape, size
    rows, columns = ((np.arange(cells) + 0.5) / cells for cells in (h, w))
    tall = [np.interp((np.arange(height) + 0.5) / height, rows, line) for line in one.T / 255]
    image = [
        np.interp((np.arange(width) + 0.5) / width, columns, line)
        for line in zip(*tall, strict=True)
    ]
    return float(np.min(image)), float(np.max(image))


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        pytest.param((7, 7), (224, 224), id="resnet50"),
        pytest.param((8, 8), (32, 32), id="cifar"),
        pytest.param((3, 5), (50, 31), id="not-square"),
        pytest.param((7, 7), (5, 3), id="fewer-pixels-than-cells"),
        pytest.param((1, 1), (9, 9), id="one-cell"),
        pytest.param((4, 1), (1, 7), id="one-row-of-pixels"),
    ],
)
def test_gains_and_floors_are_those_of_the_dense_image(
    shape: tuple[int, int], size: tuple[int, int]
) -> None:
    maps = np.random.default_rng(0).integers(0, 256, (30, *shape), np.uint8)
    maps[4] = 0
    maps[5] = 77
    gains, floors = gains_and_floors(maps, size)
    for row, one in enumerate(maps):
        low, high = _extremes(one, size)
        assert floors[row] == pytest.approx(low, rel=1e-6, abs=1e-7)
        assert gains[row] == (pytest.approx(1 / (high - low), rel=1e-6) if high > low + 1e-6 else 0)


def test_a_row_has_the_same_bits_whatever_lies_beside_it() -> None:
    maps = np.random.default_rng(1).integers(0, 256, (PART_ROWS + 70, 7, 7), np.uint8)
    whole = np.stack(gains_and_floors(maps, (299, 299)))
    for rows in (slice(0, 1), slice(3, 20), slice(PART_ROWS - 5, PART_ROWS + 9)):
        np.testing.assert_array_equal(gains_and_floors(maps[rows], (299, 299)), whole[:, rows])


def test_fractions_and_levels_of_the_same_map_agree() -> None:
    maps = np.random.default_rng(2).integers(0, 256, (9, 4, 6), np.uint8)
    levels, fractions = (gains_and_floors(m, (32, 48)) for m in (maps, maps / 255))
    np.testing.assert_array_equal(levels, fractions)


def test_no_maps_give_no_gains() -> None:
    gains, floors = gains_and_floors(np.zeros((0, 7, 7), np.uint8), (224, 224))
    assert gains.shape == floors.shape == (0,)
