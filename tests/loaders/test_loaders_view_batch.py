"""Views of a batch as arrays."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from loaders.errors import GeometryError
from loaders.view import View
from loaders.view_batch import ViewBatch

Floats = NDArray[np.float64]


SeenBy = Callable[[View], tuple[Floats, Floats, NDArray[np.bool_]]]


def test_batch_holds_views_with_unlike_clips(seen_by: SeenBy) -> None:
    views = [
        View.whole((8, 8)),
        View.whole((8, 8)).cropped(-2, 0, 8, 8),
        View.whole((10, 12)).cropped(-1, -3, 8, 8),
    ]
    batch = ViewBatch.stack(views)
    assert batch.half_planes.shape == (3, 2, 3)
    for row, view in enumerate(views):
        padded = batch.half_planes[row].tolist()
        again = View(
            tuple(batch.matrices[row].ravel().tolist()),
            tuple((a, b, c) for a, b, c in padded),
            batch.size,
        )
        for ours, expected in zip(seen_by(again), seen_by(view), strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_batch_of_whole_views_equals_stacked_ones() -> None:
    batch = ViewBatch.whole(2, (6, 9))
    stacked = ViewBatch.stack([View.whole((6, 9))] * 2)
    np.testing.assert_array_equal(batch.matrices, stacked.matrices)
    assert batch.half_planes.shape == stacked.half_planes.shape == (2, 0, 3)
    assert len(batch.take(np.array([1]))) == 1


def test_batch_rejects_views_of_unlike_sizes() -> None:
    with pytest.raises(GeometryError, match=r"got \[\(4, 4\), \(5, 4\)\]; end the pipeline"):
        ViewBatch.stack([View.whole((5, 4)), View.whole((4, 4))])
    with pytest.raises(GeometryError, match="got no view"):
        ViewBatch.stack([])


def test_batch_rejects_arrays_that_do_not_fit() -> None:
    with pytest.raises(GeometryError, match=r"matrices must be .*, got \(2, 3\)"):
        ViewBatch(matrices=np.zeros((2, 3)), half_planes=np.zeros((2, 0, 3)), size=(4, 4))
    with pytest.raises(GeometryError, match=r"half_planes must be .*, got \(3, 0, 3\)"):
        ViewBatch(matrices=np.zeros((2, 3, 3)), half_planes=np.zeros((3, 0, 3)), size=(4, 4))
    with pytest.raises(GeometryError, match=r"got \(4, 0\)"):
        ViewBatch.whole(2, (4, 0))
