"""Data shared by the loaders' tests."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torchvision import tv_tensors

from loaders.image_data import ArrayData
from loaders.shapes import render_shapes
from loaders.shapes_forms import FORM_NAMES
from loaders.view import View

Floats = NDArray[np.float64]
Seen = tuple[Floats, Floats, NDArray[np.bool_]]


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
def upsampled() -> Callable[[NDArray[np.uint8], tuple[int, int]], Floats]:
    """torch's own upsampling of a map to every pixel of the whole image, not normalised."""

    def upsample(map_hw: NDArray[np.uint8], size: tuple[int, int]) -> Floats:
        source = torch.from_numpy(map_hw.astype(np.float64) / 255)[None, None]
        values = torch.nn.functional.interpolate(
            source, size=size, mode="bilinear", align_corners=False
        )
        return values[0, 0].numpy()

    return upsample


@pytest.fixture(scope="session")
def chi_square() -> Callable[[Floats, Floats], float]:
    """The p-value of counts against probabilities; bins expecting fewer than 5 are merged."""

    def p_value(counts: Floats, probabilities: Floats) -> float:
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


@pytest.fixture(scope="session")
def seen_by() -> Callable[[View], Seen]:
    """u, v and "inside" at every output pixel of a view, from the definition."""
    return seen


def seen(view: View) -> Seen:
    height, width = view.size
    y, x = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    places = np.stack((x, y, np.ones_like(x)))
    mapped = np.tensordot(np.reshape(view.matrix, (3, 3)), places, axes=1)
    inside = np.ones((height, width), dtype=bool)
    for plane in view.half_planes:
        inside &= np.tensordot(np.array(plane), places, axes=1) > 0
    return mapped[0] / mapped[2], mapped[1] / mapped[2], inside


def rendered_coordinates(size: tuple[int, int]) -> torch.Tensor:
    height, width = size
    v, u = torch.meshgrid(
        (torch.arange(height, dtype=torch.float64) + 0.5) / height,
        (torch.arange(width, dtype=torch.float64) + 0.5) / width,
        indexing="ij",
    )
    return torch.stack((u, v, torch.ones_like(u)))


@pytest.fixture(scope="session")
def coordinates() -> Callable[[tuple[int, int]], torch.Tensor]:
    """u, v at every pixel centre of a canvas, and ones: (3, H, W) float64."""
    return rendered_coordinates


@pytest.fixture(scope="session")
def check_view() -> Callable[..., View]:
    """The oracle: a pipeline moves an image of coordinates and ones beside a view."""

    def check(
        pipeline: Callable[..., Any],
        size: tuple[int, int],
        *,
        seed: int,
        tolerance: float,
        blurred: bool = False,
    ) -> View:
        """Compare every pixel that the pipeline did not fill in.

        `blurred` is for bilinear turns: a pixel centre on the edge of a canvas shows half of it,
        one at its corner a quarter; with a fill, torchvision squares these shares.
        """
        torch.manual_seed(seed)
        image, view = pipeline(tv_tensors.Image(rendered_coordinates(size)), View.whole(size))
        assert isinstance(view, View)
        assert tuple(image.shape[-2:]) == view.size
        u, v, inside = seen(view)
        ones = image[2].numpy()
        low, high = (1 / 16 - 1e-9, 0.5 + 1e-9) if blurred else (0.5, 0.5)
        assert inside[ones > high].all()
        assert not inside[ones < low].any()
        # Interpolation leans on its neighbours near a clip, and clamps at the canvas border.
        sure = inside & (ones > 1 - 1e-9)
        np.testing.assert_allclose(image[0].numpy()[sure], u[sure], rtol=0, atol=tolerance)
        np.testing.assert_allclose(image[1].numpy()[sure], v[sure], rtol=0, atol=tolerance)
        return view

    return check
