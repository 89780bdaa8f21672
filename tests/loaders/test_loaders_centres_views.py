"""Centres through views, against Eq. 4 on saliency that was moved as an image is moved."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from loaders import centres as centres_module
from loaders.centres import exact_gains, look_up, sample_centres
from loaders.randomness import KeyedStream
from loaders.view import View
from loaders.view_batch import ViewBatch
from tests.loaders.centre_counts import CHUNK, NUM_DRAWS, counted, eq4, normalised

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Upsampled = Callable[[Bytes, tuple[int, int]], Floats]
ChiSquare = Callable[[Floats, Floats], float]


def crop(saliency: Floats) -> Floats:
    return saliency[3:15, 2:18]


def crop_view(view: View) -> View:
    return view.cropped(3, 2, 12, 16)


def pad(saliency: Floats) -> Floats:
    return np.pad(saliency, ((2, 1), (0, 4)))


def pad_view(view: View) -> View:
    return view.padded(left=0, top=2, right=4, bottom=1)


def mirror(saliency: Floats) -> Floats:
    return saliency[:, ::-1]


def mirror_view(view: View) -> View:
    return view.flipped(horizontal=True)


def upend(saliency: Floats) -> Floats:
    return saliency[::-1]


def upend_view(view: View) -> View:
    return view.flipped(horizontal=False)


def augment(saliency: Floats) -> Floats:
    return np.pad(saliency, 4)[7:25, 1:20][:, ::-1]


def augment_view(view: View) -> View:
    return view.padded(4, 4, 4, 4).cropped(7, 1, 18, 19).flipped(horizontal=True)


MOVES = [
    pytest.param(crop, crop_view, id="cropped"),
    pytest.param(pad, pad_view, id="padded"),
    pytest.param(mirror, mirror_view, id="mirrored"),
    pytest.param(upend, upend_view, id="upended"),
    pytest.param(augment, augment_view, id="padded-cropped-mirrored"),
]
IMAGE_SIZE = (18, 19)


@pytest.mark.parametrize("lam", [-2.0, 2.0])
@pytest.mark.parametrize(("move", "move_view"), MOVES)
def test_draws_follow_eq4_through_views(
    map_hw: NDArray[np.uint8],
    move: Callable[[Floats], Floats],
    move_view: Callable[[View], View],
    lam: float,
    upsampled: Upsampled,
    chi_square: ChiSquare,
) -> None:
    gains, floors = exact_gains(np.broadcast_to(map_hw, (CHUNK, 5, 6)), IMAGE_SIZE)
    saliency = move(normalised(upsampled(map_hw, IMAGE_SIZE)))
    view = move_view(View.whole(IMAGE_SIZE))
    assert view.size == saliency.shape
    counts = counted(map_hw, view.size, lam, view=view, gains=gains, floors=floors)
    assert chi_square(counts, eq4(saliency, lam)) > 1e-4


@pytest.mark.parametrize("lam", [0.0, 1.0, 8.0])
def test_draws_follow_eq4_for_every_lambda_through_a_view(
    map_hw: NDArray[np.uint8], lam: float, upsampled: Upsampled, chi_square: ChiSquare
) -> None:
    gains, floors = exact_gains(np.broadcast_to(map_hw, (CHUNK, 5, 6)), IMAGE_SIZE)
    saliency = augment(normalised(upsampled(map_hw, IMAGE_SIZE)))
    view = augment_view(View.whole(IMAGE_SIZE))
    num_draws = 40_000 if lam == 8 else NUM_DRAWS  # most rows are inverted one by one there
    counts = counted(
        map_hw, view.size, lam, view=view, num_draws=num_draws, gains=gains, floors=floors
    )
    assert chi_square(counts, eq4(saliency, lam)) > 1e-4


@pytest.mark.parametrize(("move", "move_view"), MOVES)
def test_the_check_notices_a_view_that_is_ignored(
    map_hw: NDArray[np.uint8],
    move: Callable[[Floats], Floats],
    move_view: Callable[[View], View],
    upsampled: Upsampled,
    chi_square: ChiSquare,
) -> None:
    gains, floors = exact_gains(np.broadcast_to(map_hw, (CHUNK, 5, 6)), IMAGE_SIZE)
    view = move_view(View.whole(IMAGE_SIZE))
    counts = counted(
        map_hw, view.size, 2.0, view=view, num_draws=40_000, gains=gains, floors=floors
    )
    right = eq4(move(normalised(upsampled(map_hw, IMAGE_SIZE))), 2.0)
    ignored = eq4(normalised(upsampled(map_hw, view.size)), 2.0)
    assert chi_square(counts, right) > 1e-4
    assert chi_square(counts, ignored) < 1e-6


def resized_saliency(
    map_hw: NDArray[np.uint8], image_size: tuple[int, int], view: View, upsampled: Upsampled
) -> Floats:
    """Return A_hat by torch's grid sampling at the places that the view names."""
    height, width = view.size
    y, x = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    u, v, _ = np.tensordot(
        np.reshape(view.matrix, (3, 3)), np.stack((x, y, np.ones_like(x))), axes=1
    )
    grid = torch.from_numpy(np.stack((2 * u - 1, 2 * v - 1), axis=-1))[None]
    source = torch.from_numpy(map_hw.astype(np.float64) / 255)[None, None]
    values = torch.nn.functional.grid_sample(
        source, grid, mode="bilinear", padding_mode="border", align_corners=False
    )[0, 0].numpy()
    whole = upsampled(map_hw, image_size)
    scaled: Floats = np.clip((values - whole.min()) / (whole.max() - whole.min()), 0, 1)
    return scaled


def test_draws_follow_eq4_through_a_resized_crop(
    map_hw: NDArray[np.uint8], chi_square: ChiSquare, upsampled: Upsampled
) -> None:
    image_size = (40, 50)
    view = View.whole(image_size).cropped(5, 20, 24, 17).resized((16, 20)).flipped(horizontal=True)
    gains, floors = exact_gains(np.broadcast_to(map_hw, (CHUNK, 5, 6)), image_size)
    counts = counted(map_hw, view.size, 2.0, view=view, gains=gains, floors=floors)
    assert (
        chi_square(counts, eq4(resized_saliency(map_hw, image_size, view, upsampled), 2.0)) > 1e-4
    )


def turned(size: tuple[int, int], *, tilt: float) -> View:
    """Return a view turned by 30 degrees about the centre, with perspective if `tilt` is not 0."""
    height, width = size
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    shift_x = width / 2 - cosine * width / 2 + sine * height / 2
    shift_y = height / 2 - sine * width / 2 - cosine * height / 2
    step = (cosine, -sine, shift_x, sine, cosine, shift_y, tilt, 0.0, 1.0)
    return View.whole(size).moved(step, size, frames=True)


@pytest.mark.parametrize("tilt", [0.0, 0.02], ids=["affine", "projective"])
def test_matrices_and_half_planes_hold_any_projective_view(
    map_hw: NDArray[np.uint8], tilt: float, upsampled: Upsampled, chi_square: ChiSquare
) -> None:
    size = (20, 24)
    view = turned(size, tilt=tilt)
    y, x = np.meshgrid(np.arange(20) + 0.5, np.arange(24) + 0.5, indexing="ij")
    places = np.tensordot(
        np.reshape(view.matrix, (3, 3)), np.stack((x, y, np.ones_like(x))), axes=1
    )
    u, v = places[:2] / places[2]
    source = torch.from_numpy(map_hw.astype(np.float64) / 255)[None, None]
    grid = torch.from_numpy(np.stack((2 * u - 1, 2 * v - 1), axis=-1))[None]
    values = torch.nn.functional.grid_sample(
        source, grid, mode="bilinear", padding_mode="border", align_corners=False
    )[0, 0].numpy()
    whole = upsampled(map_hw, size)
    inside = (u > 0) & (u < 1) & (v > 0) & (v < 1)
    saliency = np.where(
        inside, np.clip((values - whole.min()) / (whole.max() - whole.min()), 0, 1), 0
    )
    assert 0.5 < inside.mean() < 1
    counts = counted(map_hw, size, 2.0, view=view)
    assert chi_square(counts, eq4(saliency, 2.0)) > 1e-4
    gains, floors = exact_gains(map_hw[None], size)
    batch = ViewBatch.stack([view])
    ys, xs = np.indices(size).reshape(2, 1, -1)
    ours = look_up(map_hw[None], gains, floors, batch, ys, xs).reshape(size)
    np.testing.assert_allclose(ours, saliency, rtol=0, atol=1e-6)


@pytest.mark.parametrize("lam", [-3.0, 3.0])
def test_centres_do_not_depend_on_the_views_beside_them(lam: float) -> None:
    size = (20, 24)
    kinds = [
        View.whole(size),
        View.whole((30, 30)).cropped(2, 3, *size),
        View.whole(size).cropped(-3, 4, *size),
        turned(size, tilt=0.0),
        turned(size, tilt=0.02),
    ]
    num = 200
    maps = np.random.default_rng(5).integers(60, 200, (num, 7, 7)).astype(np.uint8)
    views = [kinds[row % len(kinds)] for row in range(num)]
    gains, floors = np.full(num, 1.0, np.float32), np.zeros(num, np.float32)
    index_B, draw_B = np.arange(num), np.zeros(num, np.int64)

    def draw(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        stream = KeyedStream(0, 1, index_B[rows], draw_B[rows], "centre")
        return sample_centres(
            maps[rows],
            size,
            lam,
            stream,
            gains=gains[rows],
            floors=floors[rows],
            views=[views[row] for row in rows],
        )

    together = draw(index_B)
    for kind in range(len(kinds)):
        rows = index_B[kind :: len(kinds)]
        np.testing.assert_array_equal(draw(rows), together[rows])


def test_inversion_alone_follows_eq4(
    map_hw: NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
    upsampled: Upsampled,
    chi_square: ChiSquare,
) -> None:
    monkeypatch.setattr(centres_module, "ROUNDS", ())
    gains, floors = exact_gains(np.broadcast_to(map_hw, (CHUNK, 5, 6)), IMAGE_SIZE)
    view = augment_view(View.whole(IMAGE_SIZE))
    counts = counted(
        map_hw, view.size, 2.0, view=view, num_draws=20_000, gains=gains, floors=floors
    )
    saliency = augment(normalised(upsampled(map_hw, IMAGE_SIZE)))
    assert chi_square(counts, eq4(saliency, 2.0)) > 1e-4
