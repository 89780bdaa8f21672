"""Views: the same pipeline applied to rendered coordinates and to a mask of ones is the oracle."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from loaders.errors import GeometryError
from loaders.view import View
from loaders.view_kernels import FOLLOWED, refused, resized_size

Floats = NDArray[np.float64]
Pipeline = Callable[..., Any]


CheckView = Callable[..., View]
Coordinates = Callable[[tuple[int, int]], torch.Tensor]
SeenBy = Callable[[View], tuple[Floats, Floats, NDArray[np.bool_]]]


EXACT: list[Any] = [
    pytest.param(v2.RandomCrop(32, padding=4), (32, 32), id="cifar-crop"),
    pytest.param(v2.RandomCrop((20, 28), padding=(1, 2, 3, 4)), (24, 30), id="uneven-padding"),
    pytest.param(v2.RandomCrop((40, 36), pad_if_needed=True), (32, 30), id="pad-if-needed"),
    pytest.param(v2.RandomCrop(20), (32, 24), id="cut-only"),
    pytest.param(v2.RandomHorizontalFlip(p=1.0), (12, 17), id="left-right"),
    pytest.param(v2.RandomVerticalFlip(p=1.0), (12, 17), id="top-bottom"),
    pytest.param(v2.CenterCrop((10, 13)), (15, 20), id="centre-cut"),
    pytest.param(v2.CenterCrop((21, 13)), (16, 20), id="centre-taller-than-image"),
    pytest.param(v2.CenterCrop((21, 30)), (16, 17), id="centre-around-image"),
    pytest.param(v2.Pad(3), (8, 9), id="pad-all"),
    pytest.param(v2.Pad([2, 5]), (8, 9), id="pad-two"),
    pytest.param(v2.Pad([-2, 3, 4, -1]), (8, 9), id="pad-negative-cuts"),
    pytest.param(v2.RandomZoomOut(p=1.0), (16, 12), id="zoom-out"),
    pytest.param(
        v2.Compose([v2.Pad(5), v2.RandomHorizontalFlip(1.0), v2.RandomCrop(18), v2.Pad([1, 9])]),
        (16, 20),
        id="frame-cut-frame",
    ),
    pytest.param(
        v2.Compose([v2.CenterCrop(10), v2.Pad(4), v2.RandomCrop(14)]), (16, 20), id="cut-then-frame"
    ),
]


@pytest.mark.parametrize(("pipeline", "size"), EXACT)
@pytest.mark.parametrize("seed", range(4))
def test_view_equals_rendered_coordinates(
    pipeline: Pipeline, size: tuple[int, int], seed: int, check_view: CheckView
) -> None:
    check_view(pipeline, size, seed=seed, tolerance=1e-12)


@pytest.mark.parametrize(
    ("pipeline", "size"),
    [
        pytest.param(v2.Resize((48, 30)), (24, 15), id="enlarge"),
        pytest.param(v2.Resize(12), (24, 32), id="shorter-side"),
        pytest.param(v2.Resize(20, max_size=22), (24, 48), id="limited"),
        pytest.param(v2.Resize(None, max_size=40), (24, 36), id="longer-side"),
        pytest.param(v2.RandomResizedCrop(16), (40, 30), id="imagenet"),
        pytest.param(v2.RandomResizedCrop((16, 24), scale=(0.5, 1)), (40, 30), id="uneven"),
        pytest.param(v2.ScaleJitter((30, 30)), (20, 20), id="scale-jitter"),
        pytest.param(v2.RandomShortestSize([12, 20]), (20, 24), id="shortest-size"),
        pytest.param(v2.RandomResize(10, 20), (16, 24), id="random-resize"),
        pytest.param(
            v2.Compose(
                [
                    v2.Resize(40),
                    v2.CenterCrop(32),
                    v2.RandomHorizontalFlip(1.0),
                    v2.RandomCrop(32, padding=4),
                ]
            ),
            (50, 60),
            id="resize-cut-mirror-frame",
        ),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_view_follows_a_resize_within_interpolation(
    pipeline: Pipeline, size: tuple[int, int], seed: int, check_view: CheckView
) -> None:
    # At the canvas border the resampling kernel is cut, which shifts a ramp by up to half a pixel.
    check_view(pipeline, size, seed=seed, tolerance=0.5 / min(size))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("antialias", "tolerance"),
    [
        pytest.param(False, 1e-12, id="points"),
        # The sampled antialiasing kernel is not quite symmetric.
        pytest.param(True, 0.1 / 50, id="antialias"),
    ],
)
def test_resized_ramps_agree_closely_away_from_the_border(
    *, seed: int, antialias: bool, tolerance: float, coordinates: Coordinates, seen_by: SeenBy
) -> None:
    torch.manual_seed(seed)
    size = (60, 50)
    crop = v2.RandomResizedCrop(24, antialias=antialias)
    image, view = crop(tv_tensors.Image(coordinates(size)), View.whole(size))
    u, v, _ = seen_by(view)
    inner = (slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(image[0].numpy()[inner], u[inner], rtol=0, atol=tolerance)
    np.testing.assert_allclose(image[1].numpy()[inner], v[inner], rtol=0, atol=tolerance)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_padding_of_every_mode_is_outside(
    mode: str, coordinates: Coordinates, seen_by: SeenBy
) -> None:
    size = (9, 12)
    _, view = v2.Pad([2, 1, 3, 0], padding_mode=mode)(
        tv_tensors.Image(coordinates(size)), View.whole(size)
    )
    expected = np.zeros((10, 17), dtype=bool)
    expected[1:, 2:14] = True
    np.testing.assert_array_equal(seen_by(view)[2], expected)


@pytest.mark.parametrize("kind", ["pil", "tensor", "image"])
def test_view_goes_beside_every_kind_of_image(kind: str) -> None:
    pixels = torch.arange(3 * 24 * 32).remainder(251).to(torch.uint8).reshape(3, 24, 32)
    inputs: dict[str, Any] = {
        "pil": PIL.Image.fromarray(pixels.permute(1, 2, 0).numpy()),
        "tensor": pixels,
        "image": tv_tensors.Image(pixels),
    }
    pipeline = v2.Compose([v2.RandomCrop((20, 26), padding=4), v2.RandomHorizontalFlip()])
    torch.manual_seed(5)
    alone = pipeline(inputs[kind])
    torch.manual_seed(5)
    image, view = pipeline(inputs[kind], View.whole((24, 32)))
    assert view.size == (20, 26)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(alone))
    torch.manual_seed(5)
    assert repr(pipeline(tv_tensors.Image(pixels), View.whole((24, 32)))[1]) == repr(view)


def test_photometric_transforms_leave_a_view_alone() -> None:
    pipeline = v2.Compose([v2.ColorJitter(0.5), v2.ToDtype(torch.float32, scale=True)])
    view = View.whole((8, 8)).cropped(-1, 2, 5, 6)
    pixels = torch.zeros((3, 5, 6), dtype=torch.uint8)
    assert pipeline(tv_tensors.Image(pixels), view)[1] is view


@pytest.mark.parametrize(
    "transform",
    [
        pytest.param(v2.ElasticTransform(sigma=1.0), id="elastic"),
        pytest.param(v2.FiveCrop(8), id="five_crop"),
        pytest.param(v2.TenCrop(8), id="ten_crop"),
    ],
)
def test_transforms_that_views_do_not_follow_are_refused_by_name(
    transform: Pipeline, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    image = torch.zeros((3, 16, 16), dtype=torch.uint8)
    with pytest.raises(GeometryError, match=f"got {name} on .16, 16.; take the transform"):
        transform(image, View.whole((16, 16)))


def test_every_geometric_functional_has_a_kernel() -> None:
    for name in (*FOLLOWED, *refused()):
        kernels = functional._utils._KERNEL_REGISTRY[getattr(functional, name)]
        assert View in kernels, name


def test_a_geometric_functional_of_a_later_torchvision_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def swirl(inpt: torch.Tensor) -> torch.Tensor:
        return inpt

    swirl.__module__ = functional.rotate.__module__
    monkeypatch.setattr(functional, "swirl", swirl, raising=False)
    monkeypatch.setattr(functional, "swirl_image", swirl, raising=False)
    assert "swirl" in refused()
    assert not {"hflip", "vflip", "resize", "rotate", "gaussian_blur"} & set(refused())


ATTRIBUTES = ("matrix", "half_planes", "size")


@pytest.mark.parametrize(
    "copied",
    [
        pytest.param(copy.copy, id="copy"),
        pytest.param(copy.deepcopy, id="deepcopy"),
        pytest.param(lambda view: pickle.loads(pickle.dumps(view)), id="pickle"),
        pytest.param(lambda view: tv_tensors.wrap(torch.empty(0), like=view), id="wrap"),
        pytest.param(lambda view: view.clone(), id="clone"),
        pytest.param(lambda view: view.detach(), id="detach"),
        pytest.param(lambda view: view.to("cpu", torch.float64), id="to"),
    ],
)
def test_copies_keep_what_a_view_knows(copied: Callable[[View], View]) -> None:
    view = View.whole((8, 9)).cropped(-2, 3, 7, 5).flipped(horizontal=True)
    again = copied(view)
    assert isinstance(again, View)
    for name in ATTRIBUTES:
        assert getattr(again, name) == getattr(view, name)
    assert again.resized(4).size == (5, 4)


def test_functionals_know_the_size_of_a_view() -> None:
    assert functional.get_size(View.whole((7, 9))) == [7, 9]


def test_chains_collapse_to_one_rectangle() -> None:
    view = View.whole((32, 32))
    for _ in range(6):
        view = view.padded(4, 4, 4, 4).cropped(1, 5, 32, 32).flipped(horizontal=True).resized(32)
    assert len(view.half_planes) <= 4


def test_edges_that_cut_no_pixel_are_dropped() -> None:
    framed = View.whole((10, 10)).padded(3, 3, 3, 3)
    assert len(framed.half_planes) == 4
    assert framed.cropped(3, 3, 10, 10).half_planes == ()


def test_view_of_no_pixels_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"at least \(1, 1\), got \(0, 4\)"):
        View.whole((0, 4))
    with pytest.raises(GeometryError, match=r"at least \(1, 1\), got \(0, 4\)"):
        View.whole((5, 4)).cropped(0, 0, 0, 4)


@settings(max_examples=200, deadline=None)
@given(
    canvas=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    size=st.one_of(
        st.integers(1, 50),
        st.lists(st.integers(1, 50), min_size=1, max_size=1),
        st.lists(st.integers(1, 50), min_size=2, max_size=2),
    ),
    extra=st.one_of(st.none(), st.integers(1, 40)),
)
def test_resized_size_equals_what_torchvision_makes(
    canvas: tuple[int, int], size: int | list[int], extra: int | None
) -> None:
    short = size if isinstance(size, int) else size[0]
    one_side = isinstance(size, int) or len(size) == 1
    max_size = short + extra if extra is not None and one_side else None
    image = torch.zeros((1, *canvas), dtype=torch.uint8)
    ours = resized_size(canvas, size, max_size)
    if min(ours) < 1:
        return  # torchvision cannot make an image without pixels
    expected = functional.resize(image, size, max_size=max_size).shape[-2:]
    assert ours == tuple(expected)
