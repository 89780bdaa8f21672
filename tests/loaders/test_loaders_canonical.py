"""Maps of views come back to the cells of their whole images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional

from loaders.canonical import CanonicalCells, to_canonical
from loaders.errors import DataError, GeometryError
from loaders.geometry import CropFlip, ResizedCropFlip
from loaders.randomness import KeyedStream
from loaders.view import View
from loaders.view_batch import ViewBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

FINE = 40
"""Points a side of a cell in the brute-force oracle."""


@st.composite
def straight_views(draw: st.DrawFn) -> View:
    """Crops that may reach beyond the image, resized and mirrored."""
    height, width = draw(st.integers(8, 40)), draw(st.integers(8, 40))
    top, left = draw(st.integers(-6, 5)), draw(st.integers(-6, 5))
    view = View.whole((height, width))
    view = view.cropped(top, left, draw(st.integers(4, 40)), draw(st.integers(4, 40)))
    view = view.resized((draw(st.integers(6, 40)), draw(st.integers(6, 40))))
    for horizontal in (True, False):
        if draw(st.booleans()):
            view = view.flipped(horizontal=horizontal)
    return view


@st.composite
def any_views(draw: st.DrawFn) -> View:
    """The same, then turned, sheared or seen at an angle, and cropped again."""
    view = draw(straight_views())
    if draw(st.booleans()):
        view = functional.affine(
            view,
            angle=draw(st.floats(-40, 40)),
            translate=[draw(st.integers(-3, 3)), draw(st.integers(-3, 3))],
            scale=draw(st.floats(0.7, 1.5)),
            shear=[draw(st.floats(-15, 15)), draw(st.floats(-15, 15))],
        )
    if draw(st.booleans()):
        height, width = view.size
        corners = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
        moved = [[x + draw(st.integers(-2, 2)), y + draw(st.integers(-2, 2))] for x, y in corners]
        view = functional.perspective(view, startpoints=corners, endpoints=moved)
    return view.cropped(draw(st.integers(-2, 2)), draw(st.integers(-2, 2)), *view.size)


def _maps(seed: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(shape)


def _by_points(
    maps_yx: NDArray[np.float64],
    weights_yx: NDArray[np.float64],
    view: View,
    shape: tuple[int, int],
) -> tuple[NDArray[np.float64], ...]:
    """Sum over many points a cell, each sent through the view's own matrix by hand."""
    (num_y, num_x), (height, width) = maps_yx.shape, view.size
    back = np.linalg.inv(np.array(view.matrix).reshape(3, 3))
    sums, coverage = np.zeros(shape), np.zeros(shape)
    for row in range(shape[0] * FINE):
        for column in range(shape[1] * FINE):
            place = ((column + 0.5) / (shape[1] * FINE), (row + 0.5) / (shape[0] * FINE), 1.0)
            x, y, scale = back @ place
            if scale <= 0 or not (0 < x / scale < width and 0 < y / scale < height):
                continue
            x, y = x / scale, y / scale
            if any(a * x + b * y + c <= 0 for a, b, c in view.half_planes):
                continue
            cell = min(int(y / height * num_y), num_y - 1), min(int(x / width * num_x), num_x - 1)
            sums[row // FINE, column // FINE] += maps_yx[cell] * weights_yx[cell]
            coverage[row // FINE, column // FINE] += weights_yx[cell]
    return sums / FINE**2, coverage / FINE**2


def _one(
    view: View,
    maps: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    shape: tuple[int, int],
) -> CanonicalCells:
    return to_canonical(maps, weights, ViewBatch.stack([view]), shape)


@settings(max_examples=12, deadline=None)
@given(view=st.one_of(straight_views(), any_views()), seed=st.integers(0, 9))
def test_cells_are_means_over_the_area_that_the_view_shows(view: View, seed: int) -> None:
    maps, weights = _maps(seed, (3, 4)), np.abs(_maps(seed + 1, (3, 4))).clip(0, 1)
    found = _one(view, maps=maps[None], weights=weights[None], shape=(2, 3))
    sums, coverage = _by_points(maps, weights, view, (2, 3))
    # Straight views are exact and the oracle counts points; slanted ones count 4 x 4 points.
    limit = 0.05 if view.matrix[1] == view.matrix[3] == view.matrix[6] == view.matrix[7] == 0 else 1
    assert np.abs(found.coverage[0] - coverage).max() <= 0.3 * max(limit, 0.2)
    assert np.abs(found.values[0] * found.coverage[0] - sums).max() <= limit
    assert np.abs(found.coverage[0] - coverage).mean() <= 0.06
    assert (found.values[0][found.coverage[0] == 0] == 0).all()


def test_an_untouched_view_gives_back_its_own_map() -> None:
    maps = _maps(0, (5, 6, 7))
    found = to_canonical(maps, None, ViewBatch.whole(5, (96, 80)), (6, 7))
    np.testing.assert_allclose(found.values, maps, rtol=1e-12)
    np.testing.assert_allclose(found.coverage, 1)


@settings(max_examples=60, deadline=None)
@given(view=any_views())
def test_a_plain_view_is_seen_alike_by_both_ways(view: View) -> None:
    # A constant comes back as that constant wherever anything is shown, whatever the view.
    found = _one(view, maps=np.full((1, 5, 5), 2.5), weights=None, shape=(4, 6))
    shown = found.coverage > 0
    np.testing.assert_allclose(found.values[shown], 2.5)
    assert ((found.coverage >= 0) & (found.coverage <= 1 + 1e-9)).all()


@settings(max_examples=60, deadline=None)
@given(view=any_views(), slope=st.tuples(st.floats(-1, 1), st.floats(-1, 1)))
def test_from_the_image_to_a_view_and_back_differs_by_a_cell_at_most(
    view: View, slope: tuple[float, float]
) -> None:
    """What grows evenly over the image is off by what it grows over the cells that were mixed."""
    num = 8
    (height, width), m = view.size, np.array(view.matrix).reshape(3, 3)
    x, y = (np.arange(num) + 0.5) * width / num, ((np.arange(num) + 0.5) * height / num)[:, None]
    scale = m[2, 0] * x + m[2, 1] * y + m[2, 2]
    u = (m[0, 0] * x + m[0, 1] * y + m[0, 2]) / scale
    v = (m[1, 0] * x + m[1, 1] * y + m[1, 2]) / scale
    maps = slope[0] * u + slope[1] * v
    found = _one(view, maps=maps[None], weights=None, shape=(num, num))
    centres = (np.arange(num) + 0.5) / num
    expected = slope[0] * centres + slope[1] * centres[:, None]
    whole = found.coverage[0] > 0.999
    # Half a cell of the view in the image's units, and half of the image's own.
    step_u = max(np.abs(np.diff(u, axis=0)).max(), np.abs(np.diff(u, axis=1)).max())
    step_v = max(np.abs(np.diff(v, axis=0)).max(), np.abs(np.diff(v, axis=1)).max())
    bound = abs(slope[0]) * (step_u + 0.5 / num) + abs(slope[1]) * (step_v + 0.5 / num)
    assert np.abs(found.values[0] - expected)[whole].max(initial=0) <= bound + 1e-9


def test_rows_do_not_depend_on_their_companions() -> None:
    rows = np.arange(20)
    geometry = ResizedCropFlip(32)
    sizes = np.full((20, 2), (60, 45))
    views = geometry.views(
        geometry.draw(sizes, KeyedStream(0, 0, rows, 0 * rows, "geometry")), sizes
    )
    turned = functional.rotate(View.whole((32, 32)), angle=20)
    joined = ViewBatch.stack(
        [
            View(tuple(m.reshape(-1)), tuple(map(tuple, p)), (32, 32))
            for m, p in zip(views.matrices, views.half_planes, strict=True)
        ]
        + [turned]
    )
    maps = _maps(3, (21, 8, 8))
    together = to_canonical(maps, None, joined, (8, 8))
    for row in (0, 7, 20):
        alone = to_canonical(maps[[row]], None, joined.take(np.array([row])), (8, 8))
        assert alone.values.tobytes() == together.values[[row]].tobytes()
        assert alone.coverage.tobytes() == together.coverage[[row]].tobytes()


def test_cells_that_are_not_believed_count_nothing() -> None:
    views = CropFlip(32).views(
        CropFlip(32).draw(4, KeyedStream(0, 0, np.arange(4), np.zeros(4, int), "geometry")),
        (32, 32),
    )
    maps, weights = _maps(1, (4, 8, 8)), np.ones((4, 8, 8))
    weights[:, 2:5, 3:6] = 0
    changed = maps.copy()
    changed[:, 2:5, 3:6] = 1e6
    found, same = (to_canonical(each, weights, views, (8, 8)) for each in (maps, changed))
    np.testing.assert_array_equal(found.values, same.values)
    assert found.coverage.sum() < to_canonical(maps, None, views, (8, 8)).coverage.sum()


def test_what_does_not_fit_together_is_refused() -> None:
    views = ViewBatch.whole(2, (8, 8))
    with pytest.raises(DataError, match=r"weights must be as the maps, \(2, 4, 4\)"):
        to_canonical(np.zeros((2, 4, 4)), np.zeros((2, 1, 1)), views, (4, 4))
    with pytest.raises(DataError, match="views must be one a map, 3, got 2"):
        to_canonical(np.zeros((3, 4, 4)), None, views, (4, 4))
    with pytest.raises(GeometryError, match=r"one canvas size, got \[\(4, 4\), \(8, 8\)\]"):
        ViewBatch.joined([views, ViewBatch.whole(1, (4, 4))])
    flat = ViewBatch(matrices=np.zeros((1, 3, 3)), half_planes=np.empty((1, 0, 3)), size=(8, 8))
    with pytest.raises(GeometryError, match="shows no area"):
        to_canonical(np.zeros((1, 4, 4)), None, flat, (4, 4))
