"""What surrounds the object in a `shapes` image: colours, cluttered background, occluder.

Only +, -, *, /, square roots and comparisons are used, as in `shapes_forms`, so that images are the
same bytes on every machine.

Shape letters: B images, H height, W width, C channels.
"""

import numpy as np
from numpy.typing import NDArray

from loaders.randomness import Uniforms

__all__ = ["draw_background", "draw_colours", "draw_occluders", "uniform"]

Floats = NDArray[np.float64]

NUM_COLOURS = 6
"""Colours of the clutter: two of the gradient, one of the pattern, two of lines, the occluder's."""

COLOUR_RANGE = (25.0, 230.0)
"""Range of every channel of every colour, object and clutter alike."""

CONTRAST = 220.0
"""Summed channel distance that the object's colour keeps from the background's, if it can."""

CANDIDATES = 8
"""Colours tried for an object until one keeps its distance."""

GRID = 6
"""Knots along a side of the patch pattern, so patches are about as large as objects."""


def uniform(rng: Uniforms, count: int, columns: int, low: float, high: float) -> Floats:
    """Return (count, columns) float64 in [low, high), the next numbers of `rng`."""
    return low + (high - low) * rng.random((count, columns))


def draw_colours(rng: Uniforms, count: int) -> tuple[Floats, Floats]:
    """Return clutter colours (B, 6, 3) and object colours (B, 3), in `COLOUR_RANGE`.

    Both have one distribution but for the contrast, so that colour alone finds no object.
    """
    clutter_BNC = uniform(rng, count, NUM_COLOURS * 3, *COLOUR_RANGE).reshape(count, -1, 3)
    tried_BNC = uniform(rng, count, CANDIDATES * 3, *COLOUR_RANGE).reshape(count, -1, 3)
    start, end, pattern = clutter_BNC[:, 0], clutter_BNC[:, 1], clutter_BNC[:, 2]
    middle = (start + end) / 2
    seen_BMC = np.stack([start, middle, end, (middle + pattern) / 2, pattern], axis=1)
    apart_BNM = np.abs(tried_BNC[:, :, None] - seen_BMC[:, None]).sum(axis=3)
    nearest_BN = np.minimum(apart_BNM.min(axis=2), CONTRAST)
    return clutter_BNC, tried_BNC[np.arange(count), nearest_BN.argmax(axis=1)]


def draw_background(rng: Uniforms, colours_BNC: Floats, side: int) -> Floats:
    """Return backgrounds (B, H, W, C) float64: gradient, stripes or patches, line segments."""
    count = len(colours_BNC)
    ticks = (np.arange(side) + 0.5) / side
    x, y = ticks[None, None, :], ticks[None, :, None]
    slope_B2 = uniform(rng, count, 2, -1.0, 1.0)[..., None, None]
    level = np.clip(0.5 + slope_B2[:, 0] * (x - 0.5) + slope_B2[:, 1] * (y - 0.5), 0.0, 1.0)
    scene = _blend(colours_BNC[:, 0, None, None], colours_BNC[:, 1, None, None], level)
    pattern = _pattern(rng, count, x, y)
    scene = _blend(scene, colours_BNC[:, 2, None, None], pattern)
    for line in range(2):
        cover = _segment(rng, count, x * side, y * side, side)
        scene = _blend(scene, colours_BNC[:, 3 + line % 2, None, None], cover)
    return scene


def draw_occluders(
    rng: Uniforms, count: int, x: Floats, y: Floats, centre_B2: Floats, half_B: Floats
) -> NDArray[np.bool_]:
    """Return which points (x, y) in pixels are behind a bar or a slab near the object.

    Args:
        rng: Source of numbers.
        count: Number of images B.
        x: Horizontal positions, (1, 1, W).
        y: Vertical positions, (1, H, 1).
        centre_B2: Centre (x, y) of each object, in pixels.
        half_B: Half the side of each object's box, in pixels.

    Returns:
        (B, H, W) bool; nothing for two images in five.
    """
    kind_B, wide_B = uniform(rng, count, 2, 0.0, 1.0).T
    offset_B2 = uniform(rng, count, 2, -1.0, 1.0)
    turn_B = uniform(rng, count, 1, -1.0, 1.0)[:, 0]
    dx = x - (centre_B2[:, 0] + offset_B2[:, 0] * half_B)[:, None, None]
    dy = y - (centre_B2[:, 1] + offset_B2[:, 1] * half_B)[:, None, None]
    cosine, sine = ((1 - turn_B**2) / (1 + turn_B**2)), 2 * turn_B / (1 + turn_B**2)
    across = np.abs(dx * sine[:, None, None] + dy * cosine[:, None, None])
    half_width = ((0.15 + 0.25 * wide_B) * half_B)[:, None, None]
    along = np.abs(dx * cosine[:, None, None] - dy * sine[:, None, None])
    # A bar crosses the image; a slab is shorter. Neither is the form of a class.
    longest = np.where(kind_B < 0.3, np.inf, (0.4 + 0.6 * kind_B) * half_B)[:, None, None]
    shown = kind_B[:, None, None] < 0.6
    covered: NDArray[np.bool_] = (across <= half_width) & (along <= longest) & shown
    return covered


def _blend(under: Floats, over: Floats, cover: Floats) -> Floats:
    mixed: Floats = under + (over - under) * cover[..., None]
    return mixed


def _pattern(rng: Uniforms, count: int, x: Floats, y: Floats) -> Floats:
    """Return how much of the pattern's colour is where, (B, H, W) in [0, 1]."""
    kind_B, strength_B = uniform(rng, count, 2, 0.0, 1.0).T
    frequency_B2 = uniform(rng, count, 2, -6.0, 6.0)[..., None, None]
    phase = frequency_B2[:, 0] * x + frequency_B2[:, 1] * y
    wave = np.abs(phase - np.floor(phase) - 0.5) * 2.0
    knots = uniform(rng, count, GRID * GRID, 0.0, 1.0).reshape(count, GRID, GRID)
    kind = kind_B[:, None, None]
    field = np.where(kind < 0.4, wave, _smooth(knots, x, y))
    # A steep ramp: patches and stripes have edges, as objects have.
    steep = np.clip((field - 0.5) * 5.0 + 0.5, 0.0, 1.0)
    return np.where(kind < 0.85, steep, 0.0) * (0.1 + 0.3 * strength_B[:, None, None])


def _smooth(knots: Floats, x: Floats, y: Floats) -> Floats:
    """Return the bilinear surface through `knots` (B, GRID, GRID) at (x, y) in [0, 1)."""
    across, down = x[0, 0] * (GRID - 1), y[0, :, 0] * (GRID - 1)
    left, top = np.floor(across).astype(np.int64), np.floor(down).astype(np.int64)
    part_x, part_y = (across - left)[None, None, :], (down - top)[None, :, None]
    rows_top = (
        knots[:, top[:, None], left] * (1 - part_x) + knots[:, top[:, None], left + 1] * part_x
    )
    rows_low = (
        knots[:, top[:, None] + 1, left] * (1 - part_x)
        + knots[:, top[:, None] + 1, left + 1] * part_x
    )
    return rows_top * (1 - part_y) + rows_low * part_y


def _segment(rng: Uniforms, count: int, x: Floats, y: Floats, side: int) -> Floats:
    """Return how much of each pixel one straight line per image covers, (B, H, W) in [0, 1]."""
    x0, y0, x1, y1 = uniform(rng, count, 4, -0.1 * side, 1.1 * side).T[..., None, None]
    width, shown = uniform(rng, count, 2, 0.0, 1.0).T[..., None, None]
    dx, dy = x1 - x0, y1 - y0
    along = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy + 1e-9), 0.0, 1.0)
    off_x, off_y = x - x0 - along * dx, y - y0 - along * dy
    distance = np.sqrt(off_x * off_x + off_y * off_y)
    return np.clip(0.6 + 0.6 * width - distance, 0.0, 1.0) * (shown < 0.6)
