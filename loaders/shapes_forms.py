"""The outlines of the `shapes` classes, drawn from points with plain arithmetic.

Every form lies in the square [-1, 1] x [-1, 1], y down. Only +, -, *, / and comparisons decide
which pixels it covers, so that the images are the same bytes on every machine: sines and
exponentials differ between processors in the last bit.

Shape letters: S template side.
"""

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["FORM_NAMES", "TEMPLATE_SIDE", "form_templates"]

TEMPLATE_SIDE = 128
"""Pixels along a side of a form's template; at most 80 sub-pixels of an image show it."""

Mask = NDArray[np.bool_]
Plane = NDArray[np.float64]
Point = tuple[float, float]


def _disc(x: Plane, y: Plane, radius: float, centre: Point = (0.0, 0.0)) -> Mask:
    dx, dy = x - centre[0], y - centre[1]
    inside: Mask = dx * dx + dy * dy <= radius * radius
    return inside


def _box(x: Plane, y: Plane, left: float, top: float, right: float, bottom: float) -> Mask:
    inside: Mask = (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
    return inside


def _polygon(x: Plane, y: Plane, *corners: Point) -> Mask:
    """Return which points are inside by the even-odd rule."""
    inside = np.zeros(x.shape, np.bool_)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if y0 != y1:
            crosses = (y >= min(y0, y1)) & (y < max(y0, y1))
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def _strokes(x: Plane, y: Plane, width: float, *points: Point) -> Mask:
    """Return which points are within width / 2 of the line through `points`."""
    near = np.zeros(x.shape, np.bool_)
    for (x0, y0), (x1, y1) in pairwise(points):
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
        near |= _disc(x - along * dx, y - along * dy, width / 2, (x0, y0))
    return near


def _crescent(x: Plane, y: Plane) -> Mask:
    return _disc(x, y, 1.0) & ~_disc(x, y, 0.85, (0.5, 0.0))


def _ring(x: Plane, y: Plane) -> Mask:
    return _disc(x, y, 1.0) & ~_disc(x, y, 0.55)


def _frame(x: Plane, y: Plane) -> Mask:
    return _box(x, y, -0.9, -0.9, 0.9, 0.9) & ~_box(x, y, -0.5, -0.5, 0.5, 0.5)


def _star(x: Plane, y: Plane) -> Mask:
    # Five points of radius 1, at 72 degrees; the inner corners have radius 0.4.
    outer = [(0.0, -1.0), (0.951, -0.309), (0.588, 0.809), (-0.588, 0.809), (-0.951, -0.309)]
    inner = [(0.235, -0.324), (0.380, 0.124), (0.0, 0.4), (-0.380, 0.124), (-0.235, -0.324)]
    return _polygon(x, y, *[corner for pair in zip(outer, inner, strict=True) for corner in pair])


def _heart(x: Plane, y: Plane) -> Mask:
    lobes = _disc(x, y, 0.52, (-0.46, -0.4)) | _disc(x, y, 0.52, (0.46, -0.4))
    return lobes | _polygon(x, y, (-0.93, -0.17), (0.0, -0.4), (0.93, -0.17), (0.0, 0.98))


def _arrow(x: Plane, y: Plane) -> Mask:
    head = _polygon(x, y, (0.0, -1.0), (0.85, -0.05), (-0.85, -0.05))
    return head | _box(x, y, -0.22, -0.1, 0.22, 1.0)


def _bow_tie(x: Plane, y: Plane) -> Mask:
    left = _polygon(x, y, (-1.0, -0.75), (0.1, 0.0), (-1.0, 0.75))
    return left | _polygon(x, y, (1.0, -0.75), (-0.1, 0.0), (1.0, 0.75))


def _checker(x: Plane, y: Plane) -> Mask:
    return _box(x, y, -0.9, -0.9, 0.02, 0.02) | _box(x, y, -0.02, -0.02, 0.9, 0.9)


def _rails(x: Plane, y: Plane) -> Mask:
    return _box(x, y, -0.95, -0.75, 0.95, -0.25) | _box(x, y, -0.95, 0.25, 0.95, 0.75)


def _comb(x: Plane, y: Plane) -> Mask:
    teeth = [_box(x, y, -0.75, middle - 0.17, 0.8, middle + 0.17) for middle in (-0.8, 0.0, 0.8)]
    return _box(x, y, -0.75, -0.97, -0.4, 0.97) | teeth[0] | teeth[1] | teeth[2]


def _spiral(x: Plane, y: Plane) -> Mask:
    outer = ((0.84, -0.84), (-0.84, -0.84), (-0.84, 0.84), (0.84, 0.84), (0.84, -0.28))
    return _strokes(x, y, 0.28, *outer, (-0.28, -0.28), (-0.28, 0.28), (0.28, 0.28))


def _tee(x: Plane, y: Plane) -> Mask:
    return _box(x, y, -0.9, -0.95, 0.9, -0.45) | _box(x, y, -0.25, -0.95, 0.25, 0.95)


def _ell(x: Plane, y: Plane) -> Mask:
    return _box(x, y, -0.7, -0.95, -0.2, 0.95) | _box(x, y, -0.7, 0.45, 0.75, 0.95)


def _aitch(x: Plane, y: Plane) -> Mask:
    posts = _box(x, y, -0.85, -0.95, -0.4, 0.95) | _box(x, y, 0.4, -0.95, 0.85, 0.95)
    return posts | _box(x, y, -0.85, -0.22, 0.85, 0.22)


def _plus(x: Plane, y: Plane) -> Mask:
    return _box(x, y, -0.95, -0.3, 0.95, 0.3) | _box(x, y, -0.3, -0.95, 0.3, 0.95)


def _saltire(x: Plane, y: Plane) -> Mask:
    rising = _strokes(x, y, 0.42, (-0.75, 0.75), (0.75, -0.75))
    return rising | _strokes(x, y, 0.42, (-0.75, -0.75), (0.75, 0.75))


def _zigzag(x: Plane, y: Plane) -> Mask:
    return _strokes(x, y, 0.36, (-0.82, 0.6), (-0.4, -0.6), (0.05, 0.6), (0.45, -0.6), (0.82, 0.6))


def _triangle(x: Plane, y: Plane) -> Mask:
    return _polygon(x, y, (0.0, -0.95), (1.0, 0.8), (-1.0, 0.8))


_FORMS: dict[str, Callable[[Plane, Plane], Mask]] = {
    "disc": lambda x, y: _disc(x, y, 0.95),
    "cross": _saltire,
    "ring": _ring,
    "triangle": _triangle,
    "tee": _tee,
    "frame": _frame,
    "star": _star,
    "zigzag": _zigzag,
    "crescent": _crescent,
    "plus": _plus,
    "arrow": _arrow,
    "spiral": _spiral,
    "heart": _heart,
    "ell": _ell,
    "rails": _rails,
    "bow-tie": _bow_tie,
    "aitch": _aitch,
    "dome": lambda x, y: _disc(x, y - 0.5, 1.0) & (y <= 0.5),
    "comb": _comb,
    "checker": _checker,
}

FORM_NAMES = tuple(_FORMS)
"""Names of the classes in label order; no form is another one's mirror image."""


@cache
def form_templates() -> Mask:
    """Return what each form covers of the square [-1, 1] x [-1, 1]: (20, S, S) bool."""
    ticks = (np.arange(TEMPLATE_SIDE) + 0.5) * (2.0 / TEMPLATE_SIDE) - 1.0
    x, y = np.meshgrid(ticks, ticks)
    templates = np.stack([form(x, y) for form in _FORMS.values()])
    templates.flags.writeable = False
    return templates
