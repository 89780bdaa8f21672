"""What preview and report draw is what the loader samples from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from loaders.gains import exact_gains
from loaders.image_data import ArrayData
from loaders.map_source import MapBatch
from pipeline.pictures.drawn import dense_saliency, density, spread_rows

SIZE = 32


@pytest.fixture
def data() -> ArrayData:
    images = np.random.default_rng(1).integers(0, 256, (12, 4, 4, 3), np.uint8)
    return ArrayData(images, np.repeat((1, 0, 2), (6, 4, 2)), ("a", "b", "c", "empty"))


def test_chosen_rows_run_from_head_to_tail_and_never_repeat(data: ArrayData) -> None:
    one_a_class = spread_rows(data, 3, seed=0)
    assert data.labels[one_a_class].tolist() == [1, 0, 2]
    every = spread_rows(data, 50, seed=0)
    assert sorted(every.tolist()) == list(range(12))
    assert data.labels[every].tolist() == data.labels.tolist()
    assert {tuple(spread_rows(data, 3, seed).tolist()) for seed in range(9)} != {
        tuple(one_a_class.tolist())
    }


def test_dense_saliency_is_the_upsampled_map_stretched_to_unit_range() -> None:
    maps = np.random.default_rng(2).integers(0, 256, (5, 3, 4), np.uint8)
    maps[3] = 0
    batch = MapBatch(maps, *exact_gains(maps, (SIZE, SIZE)))
    upsampled = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[:, None].double(), (SIZE, SIZE), mode="bilinear"
    )[:, 0].numpy()
    low, high = upsampled.min((1, 2), keepdims=True), upsampled.max((1, 2), keepdims=True)
    expected = (upsampled - low) / np.where(high > low, high - low, 1)
    np.testing.assert_allclose(dense_saliency(batch, SIZE), expected, atol=1e-6)


def test_density_is_equation_4_as_a_multiple_of_uniform() -> None:
    saliency_HW = np.array([[0.0, 0.5], [0.5, 1.0]])
    for lam in (-2.0, 0.0, 3.0):
        weights = np.exp(lam * saliency_HW)
        np.testing.assert_allclose(density(saliency_HW, lam), 4 * weights / weights.sum())
    assert np.isfinite(density(saliency_HW, 5000.0)).all()
