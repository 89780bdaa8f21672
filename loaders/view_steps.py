"""The matrices of rotate, affine and perspective as torchvision applies them.

Each takes (x, y, 1) of a new output pixel, pixel centres at +0.5, to homogeneous coordinates on the
canvas that the functional read. Source: `torchvision.transforms.v2.functional`.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from loaders.errors import GeometryError

Size = tuple[int, int]
"""(H, W) of a canvas in pixels."""

Matrix = tuple[float, float, float, float, float, float, float, float, float]
"""A 3x3 matrix, row after row, acting on homogeneous columns (x, y, 1)."""


def scale_shift(x_scale: float, y_scale: float, x_shift: float, y_shift: float) -> Matrix:
    """Return the matrix to (x_scale * x + x_shift, y_scale * y + y_shift)."""
    return (x_scale, 0.0, x_shift, 0.0, y_scale, y_shift, 0.0, 0.0, 1.0)


def affine_step(
    canvas: Size,
    angle: float,
    translate: Sequence[float],
    scale: float,
    shear: float | Sequence[float],
    center: Sequence[float] | None,
) -> Matrix:
    """Return the step of `v2.functional.affine`; the arguments are its own.

    The functional turns, scales and shears clockwise about `center` (x, y; None: the middle), then
    translates: the step is the inverse of that.
    """
    shears = (shear, 0.0) if isinstance(shear, int | float) else tuple(shear)
    turn, shear_x, shear_y = math.radians(angle), math.radians(shears[0]), math.radians(shears[-1])
    x, y = (canvas[1] / 2, canvas[0] / 2) if center is None else center
    a = math.cos(turn - shear_y) / math.cos(shear_y)
    b = -a * math.tan(shear_x) - math.sin(turn)
    c = math.sin(turn - shear_y) / math.cos(shear_y)
    d = math.cos(turn) - c * math.tan(shear_x)
    # The determinant of (a b; c d) is 1.
    a, b, c, d = d / scale, -b / scale, -c / scale, a / scale
    moved_x, moved_y = x + translate[0], y + translate[1]
    return (a, b, x - a * moved_x - b * moved_y, c, d, y - c * moved_x - d * moved_y, 0.0, 0.0, 1.0)


def rotation_step(
    canvas: Size, angle: float, center: Sequence[float] | None, *, expand: bool
) -> tuple[Matrix, Size]:
    """Return the step of `v2.functional.rotate` and the size that it makes.

    The functional turns counterclockwise about `center` (x, y; None: the middle). With `expand`
    the new canvas is just large enough, about the place where the middle comes to lie.
    """
    height, width = canvas
    x, y = (width / 2, height / 2) if center is None else center
    # Rounding makes quarter turns exact, as torchvision's own special case for them is.
    cosine, sine = (round(f(math.radians(angle % 360)), 15) for f in (math.cos, math.sin))
    size = _expanded(canvas, cosine, sine, (x, y)) if expand else canvas
    # Torchvision places the middle of the new canvas where the middle of the old one was.
    from_x, from_y = x + (size[1] - width) / 2, y + (size[0] - height) / 2
    shift_x, shift_y = x - cosine * from_x + sine * from_y, y - sine * from_x - cosine * from_y
    return (cosine, -sine, shift_x, sine, cosine, shift_y, 0.0, 0.0, 1.0), size


def _expanded(canvas: Size, cosine: float, sine: float, center: tuple[float, float]) -> Size:
    """Return the (H, W) that rotate gives a tensor with expand=True.

    It is computed in torchvision's own precision, since rounding decides about a last pixel.
    """
    half_height, half_width = canvas[0] / 2, canvas[1] / 2
    if sine in (1.0, -1.0) and center == (half_width, half_height):
        return canvas[1], canvas[0]
    x, y = center[0] - half_width, center[1] - half_height
    theta = ((cosine, -sine, x - cosine * x + sine * y), (sine, cosine, y - sine * x - cosine * y))
    corners = torch.tensor([(sx * half_width, sy * half_height, 1.0) for sx, sy in _CORNERS])
    low, high = torch.matmul(corners, torch.tensor(theta).T).aminmax(dim=0)
    halves = torch.tensor((half_width, half_height))
    high = (high + halves).mul_(1e4).trunc_().mul_(1e-4).ceil_()
    low = (low + halves).mul_(1e4).trunc_().mul_(1e-4).floor_()
    new_width, new_height = (high - low).tolist()
    return int(new_height), int(new_width)


_CORNERS = ((-1.0, -1.0), (-1.0, 1.0), (1.0, 1.0), (1.0, -1.0))


def perspective_step(
    canvas: Size,
    startpoints: Sequence[Sequence[float]] | None,
    endpoints: Sequence[Sequence[float]] | None,
    coefficients: Sequence[float] | None,
) -> Matrix:
    """Return the step of `v2.functional.perspective`; the arguments are its own.

    Its third row is positive wherever the canvas is shown.

    Raises:
        GeometryError: If neither points nor coefficients are given, or they fold the canvas.
    """
    if coefficients is None:
        if startpoints is None or endpoints is None:
            raise GeometryError(
                "perspective needs startpoints and endpoints, or coefficients, got neither"
            )
        coefficients = _coefficients(startpoints, endpoints)
    if len(coefficients) != 8:
        raise GeometryError(f"perspective takes 8 coefficients, got {len(coefficients)}")
    height, width = canvas
    corners = np.array(((0, width, width, 0), (0, 0, height, height), (1, 1, 1, 1)))
    try:
        # How the third row of the step divides where each corner comes to lie.
        divisors = np.linalg.inv(np.reshape([*coefficients, 1.0], (3, 3)))[2] @ corners
    except np.linalg.LinAlgError:
        divisors = np.zeros(4)
    if not (np.all(divisors > 0) or np.all(divisors < 0)):
        raise GeometryError(
            f"perspective must move the corners of the canvas {canvas} to a convex quadrilateral, "
            f"got coefficients {list(coefficients)}; take a smaller distortion_scale"
        )
    sign = 1.0 if divisors[0] > 0 else -1.0
    a, b, c, d, e, f, g, h = (sign * float(value) for value in coefficients)
    return (a, b, c, d, e, f, g, h, sign)


def _coefficients(
    startpoints: Sequence[Sequence[float]], endpoints: Sequence[Sequence[float]]
) -> list[float]:
    """Return the eight numbers that take the four endpoints to the four startpoints."""
    if len(startpoints) != 4 or len(endpoints) != 4:
        raise GeometryError(
            f"perspective takes four corners twice, got {len(startpoints)} startpoints and "
            f"{len(endpoints)} endpoints"
        )
    rows = []
    for (x, y), (from_x, from_y) in zip(endpoints, startpoints, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -from_x * x, -from_x * y])
        rows.append([0, 0, 0, x, y, 1, -from_y * x, -from_y * y])
    try:
        solution = np.linalg.solve(np.array(rows, np.float64), np.ravel(startpoints))
    except np.linalg.LinAlgError:
        raise GeometryError(
            f"endpoints of perspective must be no three in a line, got {endpoints}"
        ) from None
    # Torchvision hands them on in single precision.
    return [float(value) for value in solution.astype(np.float32)]
