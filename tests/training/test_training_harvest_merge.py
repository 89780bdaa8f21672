"""What steps have seen, taken back to whole images and merged over epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.batches import Batch
from loaders.geometry import CropFlip
from loaders.policy import Event
from loaders.randomness import KeyedStream
from loaders.view import View
from loaders.view_batch import ViewBatch
from pipeline.training.harvest_merge import NEVER, MergedMaps, SeenViews
from pipeline.training.harvest_recipe import HarvestRecipe
from pipeline.training.harvest_views import HarvestedViews, departures, usable

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE, CELLS = 16, 4


def _batch(events: list[int], boxes: list[tuple[int, int, int, int]], **changes: Any) -> Batch:  # noqa: ANN401
    num = len(events)
    boxes_B4 = torch.tensor(boxes)
    fields: dict[str, Any] = {
        "images": torch.zeros(num, 3, SIZE, SIZE),
        "labels": torch.zeros(num, dtype=torch.int64),
        "indices": torch.arange(num) + 5,
        "draws": torch.zeros(num, dtype=torch.int64),
        "events": torch.tensor(events, dtype=torch.uint8),
        "boxes": boxes_B4,
        "erased": (boxes_B4[:, 2:] - boxes_B4[:, :2]).prod(1),
        "unguided": torch.zeros(num, dtype=torch.bool),
        "saliency": torch.full((num,), torch.nan),
        "views": ViewBatch.whole(num, (SIZE, SIZE)),
    }
    return Batch(**(fields | changes))


def _seen(rows: list[int], values: float, weights: float, draw: int = 0) -> SeenViews:
    num = len(rows)
    return SeenViews(
        rows=np.array(rows),
        draws=np.full(num, draw),
        values=np.full((num, 1, 1), round(values * 255), np.uint8),
        weights=np.full((num, 1, 1), round(weights * 255), np.uint8),
        probability=np.full(num, values, np.float32),
    )


def test_mixed_pasted_and_kept_images_and_grids_are_left_out() -> None:
    events = [Event.NONE, Event.ERASE, Event.MIXUP, Event.PASTE, Event.KEEP, Event.ERASE]
    boxes = [(0, 0, 0, 0), *[(2, 4, 10, 8)] * 5]
    batch = _batch([int(event) for event in events], boxes)
    batch.erased[5] = 90  # a grid erases more than the rectangle that is told
    useful, shown = usable(batch, (CELLS, CELLS))
    assert useful.tolist() == [0, 1]
    assert (shown[0] == 1).all()
    expected = np.ones((CELLS, CELLS))
    expected[:, 1] = (0.5, 0, 0.5, 1)  # rows 2 to 10 of column cell 4 to 8
    np.testing.assert_allclose(shown[1], expected)


def test_a_step_is_seen_in_the_cells_of_whole_images_and_not_under_its_rectangle() -> None:
    maps = np.random.default_rng(0).random((2, CELLS, CELLS)).astype(np.float32)
    batch = _batch([Event.NONE, Event.ERASE], [(0, 0, 0, 0), (0, 0, 8, 16)])
    views = HarvestedViews((CELLS, CELLS), HarvestRecipe(erased=0.4))
    views.add(batch, torch.from_numpy(maps), torch.tensor([0.25, 0.75]))
    seen = views.seen()
    assert seen.rows.tolist() == [5, 6]
    assert seen.probability.tolist() == [0.25, 0.75]
    np.testing.assert_allclose(seen.values[0] / 255, maps[0] / maps[0].max(), atol=0.003)
    np.testing.assert_array_equal(seen.weights[0], 255)
    # The highest cell that is not under the rectangle is 1, what is under it is not known.
    np.testing.assert_allclose(
        seen.values[1][2:] / 255, maps[1][2:] / maps[1][2:].max(), atol=0.003
    )
    assert (seen.values[1][:2] == 0).all()
    np.testing.assert_array_equal(seen.weights[1], np.repeat([[0], [0], [102], [102]], 4, axis=1))


def test_crops_and_flips_are_undone() -> None:
    geometry, rows = CropFlip(SIZE, padding=4), np.arange(40)
    params = geometry.draw(40, KeyedStream(0, 0, rows, 0 * rows, "geometry"))
    views = geometry.views(params, (SIZE, SIZE))
    truth = np.zeros((40, SIZE, SIZE, 3), np.uint8)
    truth[:, 4:8, 8:12] = 200  # cell (1, 2) of every image
    shown = geometry.apply_arrays(truth, params)[:, 0].astype(np.float32)
    maps = torch.from_numpy(shown.reshape(40, CELLS, 4, CELLS, 4).mean((2, 4)))
    batch = _batch([0] * 40, [(0, 0, 0, 0)] * 40, views=views)
    harvested = HarvestedViews((CELLS, CELLS), HarvestRecipe(mirrored=1.0, displaced=1.0))
    harvested.add(batch, maps, torch.zeros(40))
    merged = MergedMaps(45, (CELLS, CELLS), decay=0.5)
    merged.add(harvested.seen(), 0)
    mean = merged.values[5:].astype(float).mean(0)
    assert np.unravel_index(mean.argmax(), mean.shape) == (1, 2)
    assert mean[1, 2] > 0.8
    assert mean[3, 0] == 0


def test_views_count_the_less_the_further_they_are_from_the_whole_image() -> None:
    whole = View.whole((16, 16))
    views = [
        whole,
        whole.flipped(horizontal=True),
        whole.flipped(horizontal=True).flipped(horizontal=False),
        whole.cropped(2, -4, 16, 16),
        whole.cropped(2, -4, 16, 16).flipped(horizontal=True),
        whole.cropped(4, 4, 8, 8).resized((16, 16)),
    ]
    flips, distances = departures(ViewBatch.stack(views), (CELLS, CELLS))
    assert flips.tolist() == [0, 1, 2, 0, 1, 0]
    # A pixel is a quarter of a cell; the centre cut at twice the size moves its edges most.
    np.testing.assert_allclose(distances, [0, 0, 0, 1.5, 1.5, 1.0])
    harvested = HarvestedViews((CELLS, CELLS), HarvestRecipe(mirrored=0.5, displaced=0.25))
    batch = _batch([0] * 6, [(0, 0, 0, 0)] * 6, views=ViewBatch.stack(views))
    harvested.add(batch, torch.ones(6, CELLS, CELLS), torch.zeros(6))
    highest = harvested.seen().weights.max((1, 2)) / 255
    expected = [1, 0.5, 0.25, 0.25**1.5, 0.5 * 0.25**1.5, 0.25]
    np.testing.assert_allclose(highest, expected, atol=0.003)


@settings(max_examples=40, deadline=None)
@given(
    views=st.lists(
        st.tuples(st.integers(0, 6), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8
    ),
    decay=st.floats(0, 0.9),
)
def test_cells_are_means_of_their_views_weighted_by_coverage_and_age(
    views: list[tuple[int, float, float]], decay: float
) -> None:
    merged = MergedMaps(2, (1, 1), decay)
    views.sort(key=lambda view: view[0])
    epochs = sorted({epoch for epoch, _, _ in views})
    for epoch in epochs:
        same = [view for view in views if view[0] == epoch]
        parts = [_seen([1], value, weight, draw) for draw, (_, value, weight) in enumerate(same)]
        merged.add(SeenViews.joined(parts), epoch)
    last = epochs[-1]
    weights = [round(weight * 255) / 255 * decay ** (last - epoch) for epoch, _, weight in views]
    values = [round(value * 255) / 255 for _, value, _ in views]
    total = sum(weights)
    assert float(merged.weights[1, 0, 0]) == pytest.approx(total, abs=0.01)
    if total > 0.01:
        expected = sum(w * v for w, v in zip(weights, values, strict=True)) / total
        assert float(merged.values[1, 0, 0]) == pytest.approx(expected, abs=0.01)
    seen_in = [epoch for epoch, _, weight in views if round(weight * 255)]
    assert merged.epochs[1, 0, 0] == (max(seen_in) if seen_in else NEVER)
    assert merged.epochs[0, 0, 0] == NEVER


def test_who_saw_what_in_which_order_changes_no_byte() -> None:
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.permutation(20), rng.permutation(20)[:9]])
    draws = np.repeat([0, 1], [20, 9])

    def part(chosen: NDArray[np.int64]) -> SeenViews:
        draw = np.random.default_rng(1).integers(0, 256, (2, 29, 3, 3), np.uint8)
        return SeenViews(
            rows=rows[chosen],
            draws=draws[chosen],
            values=draw[0][chosen],
            weights=draw[1][chosen],
            probability=np.linspace(0, 1, 29, dtype=np.float32)[chosen],
        )

    ends = []
    for parts in ([np.arange(29)], [rng.permutation(29)[:14]]):
        rest = np.setdiff1d(np.arange(29), parts[0])
        merged = MergedMaps(20, (3, 3), decay=0.5)
        merged.add(SeenViews.joined([part(rest), part(parts[0])]), 3)
        ends.append({name: value.numpy().tobytes() for name, value in merged.state().items()})
    assert ends[0] == ends[1]


def test_a_true_refresh_replaces_what_was_seen_and_views_go_on_from_it() -> None:
    merged = MergedMaps(2, (1, 1), decay=0.5)
    merged.add(_seen([0], 1.0, 1.0), 0)
    merged.begin_with(np.full((2, 1, 1), 51, np.uint8), epoch=3, weight=2.0)
    np.testing.assert_allclose(merged.values, 0.2, atol=1e-3)
    merged.add(_seen([1], 1.0, 1.0), 4)
    assert float(merged.values[1, 0, 0]) == pytest.approx((2 * 0.5 * 0.2 + 1) / 2, abs=1e-3)
    assert merged.epochs.ravel().tolist() == [3, 4]


def test_state_is_all_that_is_needed_to_go_on() -> None:
    first, second = (MergedMaps(3, (1, 1), decay=0.3) for _ in range(2))
    first.add(_seen([0, 2], 0.7, 0.9), 1)
    second.load_state(first.state())
    for merged in (first, second):
        merged.add(_seen([0, 1], 0.2, 0.4), 2)
    for name, value in first.state().items():
        assert torch.equal(value, second.state()[name]), name
