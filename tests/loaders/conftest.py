"""Data shared by the loaders' tests."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from loaders.image_data import ArrayData
from loaders.shapes import render_shapes
from loaders.shapes_forms import FORM_NAMES


@pytest.fixture(scope="session")
def small_shapes() -> ArrayData:
    """40 rendered scenes of 4 classes (16, 12, 8 and 4 images), 32x32, with masks."""
    labels_N = np.repeat(np.arange(4), [16, 12, 8, 4])
    images, masks = render_shapes("train", labels_N, np.arange(len(labels_N)))
    return ArrayData(images, labels_N, FORM_NAMES[:4], name="shapes", masks=masks)


@pytest.fixture(scope="session")
def map_hw() -> NDArray[np.uint8]:
    """One saliency map of (5, 6) cells."""
    return np.random.default_rng(3).integers(0, 256, (5, 6)).astype(np.uint8)


@pytest.fixture(scope="session")
def upsampled() -> Callable[[NDArray[np.uint8], tuple[int, int]], NDArray[np.float64]]:
    """torch's own upsampling of a map to every pixel of the whole image, not normalised."""

    def upsample(map_hw: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float64]:
        source = torch.from_numpy(map_hw.astype(np.float64) / 255)[None, None]
        values = torch.nn.functional.interpolate(
            source, size=size, mode="bilinear", align_corners=False
        )
        return values[0, 0].numpy()

    return upsample


@pytest.fixture(scope="session")
def chi_square() -> Callable[[NDArray[np.float64], NDArray[np.float64]], float]:
    """The p-value of counts against probabilities; bins expecting fewer than 5 are merged."""

    def p_value(counts: NDArray[np.float64], probabilities: NDArray[np.float64]) -> float:
        expected = probabilities.ravel() * counts.sum()
        order = np.argsort(expected)
        observed, expected = counts.ravel()[order], expected[order]
        # Small bins join until their sum passes the next multiple of 5; large ones stay alone.
        small = expected < 5
        numbers = np.where(small, np.cumsum(expected) // 5, 0).astype(np.int64)
        numbers[~small] = numbers[small].max(initial=-1) + 1 + np.arange((~small).sum())
        _, numbers = np.unique(numbers, return_inverse=True)
        merged, needed = np.bincount(numbers, observed), np.bincount(numbers, expected)
        # A rest below 5 joins the next bin.
        for position in range(len(needed) - 1):
            if needed[position] < 5:
                merged[position + 1] += merged[position]
                needed[position + 1] += needed[position]
        kept = needed >= 5
        return float(stats.chisquare(merged[kept], needed[kept]).pvalue)

    return p_value
