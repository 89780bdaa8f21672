"""Views through rotate, affine and perspective, and through chains of everything.

The oracle is torchvision itself: the same pipeline applied to rendered coordinates and to ones.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode, functional

from loaders.gains import exact_gains
from loaders.lookup import look_up
from loaders.view import View
from loaders.view_batch import ViewBatch
from tests.loaders.pipeline_steps import POINTS, SMOOTH, Call

Floats = NDArray[np.float64]
CheckView = Callable[..., View]
SeenBy = Callable[[View], tuple[Floats, Floats, NDArray[np.bool_]]]
SIZES = [(24, 32), (25, 18)]


def turns(mode: InterpolationMode) -> dict[str, Callable[..., Any]]:
    shear = (-20, 20, -30, 30)
    return {
        "rotate": v2.RandomRotation(90, interpolation=mode),
        "rotate-expand": v2.RandomRotation(180, interpolation=mode, expand=True),
        "rotate-fill": v2.RandomRotation(60, interpolation=mode, fill=0.0),
        "rotate-center": v2.RandomRotation(180, interpolation=mode, center=(3, 8)),
        "rotate-center-expand": v2.RandomRotation(
            180, interpolation=mode, center=(3, 8), expand=True
        ),
        "affine": v2.RandomAffine(
            40, translate=(0.2, 0.3), scale=(0.5, 2), shear=shear, interpolation=mode
        ),
        "affine-center": v2.RandomAffine(
            40, translate=(0.2, 0.3), scale=(0.5, 2), shear=10, center=(0, 0), interpolation=mode
        ),
        "perspective": v2.RandomPerspective(0.6, p=1.0, interpolation=mode),
        "perspective-points": Call(
            "perspective",
            startpoints=[[0, 0], [17, 0], [17, 23], [0, 23]],
            endpoints=[[3, 2], [14, 4], [16, 20], [1, 22]],
            interpolation=mode,
        ),
        "affine-one-shear": Call(
            "affine", angle=7, translate=(1, -2), scale=1.25, shear=12.0, interpolation=mode
        ),
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", list(turns(SMOOTH)))
def test_view_follows_smooth_turns_exactly(
    name: str, size: tuple[int, int], seed: int, check_view: CheckView
) -> None:
    # Bilinear interpolation reproduces a ramp: the places agree to the last digits.
    check_view(turns(SMOOTH)[name], size, seed=seed, tolerance=1e-12, blurred=True)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", list(turns(POINTS)))
def test_view_keeps_the_pixels_that_nearest_turns_keep(
    name: str, size: tuple[int, int], seed: int, check_view: CheckView
) -> None:
    # The nearest pixel lies half a pixel away at most.
    check_view(turns(POINTS)[name], size, seed=seed, tolerance=0.5001 / min(size))


@pytest.mark.parametrize("angle", [0, 90, 180, 270, -90, 450])
@pytest.mark.parametrize("expand", [False, True], ids=["kept", "expanded"])
@pytest.mark.parametrize("size", [(12, 12), (12, 18), (9, 13)])
def test_quarter_turns_are_exact(
    *, angle: int, expand: bool, size: tuple[int, int], check_view: CheckView
) -> None:
    call = Call("rotate", angle=angle, expand=expand)
    view = check_view(call, size, seed=0, tolerance=1e-12)
    assert view.matrix[0] * view.matrix[1] == 0  # along the axes, without rounding
    if expand or angle % 180 == 0:
        assert view.half_planes == ()


@settings(max_examples=150, deadline=None)
@given(
    size=st.tuples(st.integers(1, 500), st.integers(1, 500)),
    angle=st.one_of(st.integers(-360, 360), st.floats(-360, 360)),
    center=st.one_of(st.none(), st.tuples(st.integers(0, 50), st.integers(0, 50))),
)
def test_expanded_canvas_has_torchvisions_size(
    size: tuple[int, int], angle: float, center: tuple[int, int] | None
) -> None:
    image = torch.zeros((1, 1, 1), dtype=torch.uint8).expand(1, *size)
    view = functional.rotate(View.whole(size), angle, expand=True, center=center)
    assert view.size == functional.rotate(image, angle, expand=True, center=center).shape[1:]


@pytest.mark.parametrize("name", list(turns(POINTS)))
def test_pillow_images_turn_like_tensors(name: str, seen_by: SeenBy) -> None:
    size = (25, 18)
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(18), np.arange(25)[:, None]
    pixels[..., 2] = 255
    torch.manual_seed(3)
    image, view = turns(POINTS)[name](PIL.Image.fromarray(pixels), View.whole(size))
    assert (image.height, image.width) == view.size
    u, v, inside = seen_by(view)
    moved = np.asarray(image)
    # Pillow computes in 16-bit fractions: a pixel whose place lies on an edge may go either way.
    np.testing.assert_array_equal(inside, moved[..., 2] == 255)
    differs = (np.floor(u * 18) != moved[..., 0]) | (np.floor(v * 25) != moved[..., 1])
    assert differs[inside].mean() < 0.01


CHAINS = {
    "resized-crop-rotate": [
        v2.RandomResizedCrop(24, antialias=False),
        v2.RandomRotation(45, interpolation=SMOOTH),
    ],
    "crop-pad-crop": [v2.RandomCrop(20), v2.Pad([5, 3, 4, 6]), v2.RandomCrop(22)],
    "rotate-rotate": [
        v2.RandomRotation(60, interpolation=SMOOTH),
        v2.RandomRotation(60, interpolation=SMOOTH),
    ],
    "zoom-out-resized-crop": [
        v2.RandomZoomOut(p=1.0, side_range=(1.0, 2.0)),
        v2.RandomResizedCrop(24, antialias=False),
    ],
    "perspective-affine": [
        v2.RandomPerspective(0.4, p=1.0),
        v2.RandomAffine(20, translate=(0.1, 0.1), shear=10, interpolation=SMOOTH),
    ],
    "perspective-perspective": [
        v2.RandomPerspective(0.4, p=1.0),
        v2.RandomPerspective(0.4, p=1.0),
    ],
    "expand-resize-crop": [
        v2.RandomRotation(40, interpolation=SMOOTH, expand=True),
        v2.Resize(30, antialias=False),
        v2.RandomCrop(24),
        v2.RandomHorizontalFlip(),
    ],
}


def follow(steps: list[nn.Module], size: tuple[int, int], seed: int) -> tuple[Floats, View]:
    """Return a smooth image, its ones and u, v (4, H, W) after the steps, and the view."""
    height, width = size
    v, u = np.meshgrid(
        (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij"
    )
    hills = (2 + np.sin(4 * u + 1) + np.cos(5 * v)) / 4
    image = tv_tensors.Image(torch.from_numpy(np.stack((hills, np.ones_like(u), u, v))))
    torch.manual_seed(seed)
    moved, view = v2.Compose(steps)(image, View.whole(size))
    return moved.numpy(), view


def check_chain(steps: list[nn.Module], size: tuple[int, int], seed: int, seen_by: SeenBy) -> None:
    """Compare with the moved image, but for the pixel beside an edge, where interpolation blurs."""
    moved, view = follow(steps, size, seed)
    assert moved.shape[1:] == view.size
    u, v, inside = seen_by(view)
    ones, num_steps = moved[1], len(steps)
    near = np.pad(ones, num_steps, mode="edge")
    shifts = list(itertools.product(range(2 * num_steps + 1), repeat=2))
    stacked = np.stack([near[y : y + view.size[0], x : x + view.size[1]] for y, x in shifts])
    clearly_in, clearly_out = stacked.min(axis=0) > 1 - 1e-9, stacked.max(axis=0) < 1e-9
    assert inside[clearly_in].all()
    assert not inside[clearly_out].any()
    # A pixel of the image at most, wherever each interpolation reads it.
    tolerance = 0.75 * num_steps / min(size)
    np.testing.assert_allclose(moved[2][clearly_in], u[clearly_in], rtol=0, atol=tolerance)
    np.testing.assert_allclose(moved[3][clearly_in], v[clearly_in], rtol=0, atol=tolerance)
    hills = (2 + np.sin(4 * u + 1) + np.cos(5 * v)) / 4
    np.testing.assert_allclose(
        moved[0][clearly_in], hills[clearly_in], rtol=0, atol=2.5 * tolerance
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", list(CHAINS))
def test_view_follows_chains(name: str, seed: int, seen_by: SeenBy) -> None:
    check_chain(CHAINS[name], (40, 36), seed, seen_by)


STEPS: list[nn.Module] = [
    v2.RandomRotation(180, interpolation=SMOOTH),
    v2.RandomRotation(180, interpolation=SMOOTH, expand=True),
    v2.RandomAffine(
        180, translate=(0.2, 0.2), scale=(0.7, 1.4), shear=(-15, 15, -15, 15), interpolation=SMOOTH
    ),
    v2.RandomPerspective(0.5, p=1.0),
    v2.RandomHorizontalFlip(1.0),
    v2.RandomVerticalFlip(1.0),
    v2.RandomCrop(24, pad_if_needed=True),
    v2.CenterCrop(28),
    v2.Pad([3, -2, 5, 4]),
    v2.RandomZoomOut(p=1.0, side_range=(1.0, 1.5)),
    v2.RandomResizedCrop((26, 30), scale=(0.4, 1.0), antialias=False),
    v2.Resize(32, antialias=False),
    v2.ScaleJitter((36, 36), scale_range=(0.6, 1.4), antialias=False),
]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=4), seed=st.integers(0, 2**31))
def test_view_follows_any_pipeline(steps: list[nn.Module], seed: int) -> None:
    check_chain(steps, (40, 36), seed, SEEN_BY[0])


SEEN_BY: list[SeenBy] = []


@pytest.fixture(scope="module", autouse=True)
def _oracle(seen_by: SeenBy) -> None:
    SEEN_BY[:] = [seen_by]


@pytest.mark.parametrize("name", list(CHAINS))
def test_saliency_looked_up_is_the_rendered_map_moved(name: str) -> None:
    size, map_hw = (40, 36), np.random.default_rng(4).integers(0, 256, (3, 4)).astype(np.uint8)
    rendered = torch.nn.functional.interpolate(
        torch.from_numpy(map_hw / 255.0)[None, None], size=size, mode="bilinear"
    )[0]
    rendered = (rendered - rendered.min()) / (rendered.max() - rendered.min())
    image = tv_tensors.Image(torch.cat((rendered, torch.ones_like(rendered))))
    torch.manual_seed(1)
    moved, view = v2.Compose(CHAINS[name])(image, View.whole(size))
    gains, floors = exact_gains(map_hw[None], size)
    ys, xs = np.indices(view.size).reshape(2, 1, -1)
    ours = look_up(map_hw[None], gains, floors, ViewBatch.stack([view]), ys, xs)
    ours = ours.reshape(view.size)
    expected, ones = moved[0].numpy(), moved[1].numpy()
    sure = ones > 1 - 1e-9
    assert sure.mean() > 0.2
    # Between 3 x 4 cells the map rises by at most 1 a cell: half a pixel is 0.05.
    np.testing.assert_allclose(ours[sure], expected[sure], rtol=0, atol=0.05 * len(CHAINS[name]))
    assert (ours[ones < 1e-9] == 0).all()


def test_black_corners_of_a_turned_crop_hold_no_saliency(seen_by: SeenBy) -> None:
    # The corners map back inside the image, where the crop cut it away.
    size = (32, 32)
    view = functional.rotate(View.whole((64, 64)).cropped(16, 16, *size), 30)
    u, v, inside = seen_by(view)
    within = (u > 0) & (u < 1) & (v > 0) & (v < 1)
    assert within.all()
    outside = 1 - inside.mean()
    assert 0.1 < outside < 0.2


def test_half_planes_do_not_pile_up() -> None:
    view = View.whole((32, 32))
    for _ in range(8):
        view = functional.rotate(view, 90).padded(2, 2, 2, 2).cropped(2, 2, 32, 32)
    assert view.half_planes == ()
