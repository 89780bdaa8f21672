"""Views through perspectives: their horizon, and those that no view follows."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from loaders.errors import GeometryError
from loaders.view import View
from tests.loaders.pipeline_steps import POINTS, Call

Floats = NDArray[np.float64]
CheckView = Callable[..., View]
SeenBy = Callable[[View], tuple[Floats, Floats, NDArray[np.bool_]]]


def test_the_horizon_is_outside(seen_by: SeenBy) -> None:
    # A strong perspective whose horizon crosses the canvas: nothing beyond it is shown.
    coefficients = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, -0.04, 0.0]
    image = tv_tensors.Image(torch.ones((1, 24, 40), dtype=torch.float64))
    call = Call("perspective", startpoints=None, endpoints=None, coefficients=coefficients)
    call._arguments["interpolation"] = POINTS
    ones, view = call(image, View.whole((24, 40)))
    _, _, inside = seen_by(view)
    np.testing.assert_array_equal(inside, ones[0].numpy() == 1)
    assert not inside[:, 26:].any()


@pytest.mark.parametrize(
    "endpoints",
    [
        pytest.param([[7, 15], [10, 7], [28, 25], [4, 29]], id="whole"),
        pytest.param([[27, 0], [3, 27], [2, 31], [26, 30]], id="mirrored"),
        pytest.param([[22, 26], [25, 12], [14, 9], [5, 8]], id="turned-round"),
    ],
)
def test_a_horizon_between_origin_and_image_hides_nothing(
    endpoints: list[list[int]], seen_by: SeenBy, check_view: CheckView
) -> None:
    # torchvision's divisor is 1 at the origin, so here it is negative wherever the image is shown.
    startpoints = [[0, 0], [31, 0], [31, 31], [0, 31]]
    call = Call("perspective", startpoints=startpoints, endpoints=endpoints, interpolation=POINTS)
    view = check_view(call, (32, 32), seed=0, tolerance=0.5001 / 32)
    assert seen_by(view)[2].sum() > 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"startpoints": None, "endpoints": None}, "needs startpoints and endpoints"),
        ({"startpoints": [[0, 0]], "endpoints": [[0, 0]]}, "got 1 startpoints and 1 endpoints"),
        ({"startpoints": None, "endpoints": None, "coefficients": [1.0]}, "takes 8 .* got 1"),
        (
            {
                "startpoints": [[0, 0], [9, 0], [9, 9], [0, 9]],
                "endpoints": [[0, 0], [4, 4], [9, 9], [0, 9]],
            },
            "no three in a line",
        ),
        (
            {
                "startpoints": [[0, 0], [9, 0], [9, 9], [0, 9]],
                "endpoints": [[7, 7], [9, 0], [9, 9], [0, 9]],
            },
            "convex quadrilateral.*smaller distortion_scale",
        ),
        (
            {"startpoints": None, "endpoints": None, "coefficients": [0.0] * 8},
            "convex quadrilateral",
        ),
    ],
    ids=["nothing", "one-corner", "one-number", "line", "fold", "singular"],
)
def test_perspectives_that_no_view_follows_are_named(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(GeometryError, match=message):
        functional.perspective(View.whole((10, 10)), **arguments)


def test_default_perspective_never_folds() -> None:
    transform = v2.RandomPerspective(p=1.0)
    for seed, size in itertools.product(range(60), [(11, 11), (32, 32), (50, 37)]):
        torch.manual_seed(seed)
        _, view = transform(torch.zeros((1, *size)), View.whole(size))
        assert math.isfinite(sum(view.matrix))
