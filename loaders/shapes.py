"""`shapes`: rendered 32x32 scenes whose class is the form of one object, found by nothing else.

Colour, place, size and surroundings of the object say nothing of its class, so a network has to
find it; the pixels that show it are known exactly. Nothing is downloaded. Every image is a pure
function of (seed, split, class, index), and the same bytes on every machine.

Shape letters: N and B images, H height, W width, C channels, S template side.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loaders.errors import DataError, OptionError
from loaders.image_data import ArrayData
from loaders.long_tail import long_tail_rows
from loaders.randomness import KeyedStream
from loaders.shapes_forms import FORM_NAMES, TEMPLATE_SIDE, form_templates
from loaders.shapes_scene import draw_background, draw_colours, draw_occluders, uniform

__all__ = ["IMAGES_PER_CLASS", "SIDE", "open_shapes", "render_shapes"]

SIDE = 32
"""Height and width of an image in pixels."""

IMAGES_PER_CLASS = {"train": 650, "test": 50}
"""Images of each class in a balanced split; imbalance 100 leaves 2,985 of the 13,000."""

BOX_PIXELS = (13.0, 21.0)
"""Range of the side of an object's box."""

MAX_TURN = 0.15
"""Tangent of half the largest rotation either way: 17 degrees."""

MAX_OCCLUDED = 0.25
"""Largest part of an object behind its occluder; where it would be more there is no occluder."""

NOISE_LEVELS = (2.0, 12.0)
"""Range of the amplitude of an image's pixel noise, of 255."""

_SPLITS = ("train", "test")
_SUBPIXELS = 4  # samples along a pixel's side
_BATCH = 32  # keeps the arrays of sub-pixels within the processor's cache


def open_shapes(
    split: str = "train",
    *,
    imbalance: float = 100.0,
    subset_seed: int = 0,
    num_classes: int | None = None,
    seed: int = 0,
) -> ArrayData:
    """Return a split of `shapes`, with masks.

    Args:
        split: "train", long-tailed by `imbalance`, or "test", always balanced.
        imbalance: See `long_tail_counts`; 1 = all images, class by class.
        subset_seed: Seed of the choice of the long-tailed subset.
        num_classes: The first classes are taken, 2 to 20; None = 20.
        seed: Seed of the scenes.

    Raises:
        DataError: If `num_classes` is outside its range, or the tail has a class without images.
        OptionError: If `split` or `imbalance` has no allowed value.
    """
    if split not in _SPLITS:
        raise OptionError(f"split must be 'train' or 'test', got {split!r}")
    names = _class_names(num_classes)
    per_class = IMAGES_PER_CLASS[split]
    labels_N = np.repeat(np.arange(len(names)), per_class)
    rows = np.arange(len(labels_N))
    if split == "train" and imbalance != 1:
        rows = long_tail_rows(labels_N, imbalance, subset_seed)
        if len(np.unique(labels_N[rows])) < len(names):
            raise DataError(f"imbalance of shapes must be {per_class} or less, got {imbalance:g}")
    images, masks = render_shapes(split, labels_N[rows], rows % per_class, seed=seed)
    return ArrayData(images, labels_N[rows], names, name="shapes", origins=rows, masks=masks)


def _class_names(num_classes: int | None) -> Sequence[str]:
    if num_classes is None:
        return FORM_NAMES
    if not 2 <= num_classes <= len(FORM_NAMES):
        raise DataError(f"num_classes of shapes must be 2 to {len(FORM_NAMES)}, got {num_classes}")
    return FORM_NAMES[:num_classes]


def render_shapes(
    split: str, labels: ArrayLike, indices: ArrayLike, *, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the images of given classes and numbers, and which pixels show the object.

    Args:
        split: "train" or "test".
        labels: (N,) class numbers, 0 to 19.
        indices: (N,) numbers of the images within their classes, 0 or more.
        seed: Seed of the scenes.

    Returns:
        Images (N, 32, 32, 3) uint8, and masks (N, 32, 32) bool, True where at least half of the
        pixel shows the object.
    """
    labels_N, indices_N = np.asarray(labels, np.int64), np.asarray(indices, np.int64)
    images = np.empty((len(labels_N), SIDE, SIDE, 3), np.uint8)
    masks = np.empty((len(labels_N), SIDE, SIDE), np.bool_)
    for start in range(0, len(labels_N), _BATCH):
        part = slice(start, start + _BATCH)
        keys = (labels_N[part] << 32) | indices_N[part]
        rng = KeyedStream(seed, _SPLITS.index(split), keys, np.zeros_like(keys), "shapes")
        images[part], masks[part] = _render_batch(rng, labels_N[part])
    return images, masks


def _render_batch(
    rng: KeyedStream, labels_B: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    count = len(labels_B)
    clutter_BNC, colour_BC = draw_colours(rng, count)
    scene_BHWC = draw_background(rng, clutter_BNC, SIDE)
    object_BHW, occluder_BHW = _draw_covers(rng, labels_B)
    shade_BHW = _shading(rng, count)
    surface_BHWC = colour_BC[:, None, None, :] + shade_BHW[..., None]
    scene_BHWC += (surface_BHWC - scene_BHWC) * object_BHW[..., None]
    front_BC = clutter_BNC[:, 5, None, None, :]
    scene_BHWC += (front_BC - scene_BHWC) * occluder_BHW[..., None]
    level_B1 = uniform(rng, count, 1, *NOISE_LEVELS)
    noise = uniform(rng, count, SIDE * SIDE * 3, -1.0, 1.0) * level_B1
    scene_BHWC += noise.reshape(scene_BHWC.shape)
    images_BHWC = np.floor(np.clip(scene_BHWC, 0.0, 255.0) + 0.5).astype(np.uint8)
    return images_BHWC, object_BHW * (1.0 - occluder_BHW) >= 0.5


def _draw_covers(
    rng: KeyedStream, labels_B: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how much of each pixel the object and its occluder cover, (B, H, W) in [0, 1]."""
    count = len(labels_B)
    side_B, place_x, place_y, turn = uniform(rng, count, 4, 0.0, 1.0).T
    half_B = (BOX_PIXELS[0] + (BOX_PIXELS[1] - BOX_PIXELS[0]) * side_B) / 2
    reach_B = half_B + 1.5  # leaves room for the corners of a turned box
    centre_B2 = reach_B[:, None] + (SIDE - 2 * reach_B[:, None]) * np.stack([place_x, place_y], 1)
    ticks = (np.arange(SIDE * _SUBPIXELS) + 0.5) / _SUBPIXELS
    x, y = ticks[None, None, :], ticks[None, :, None]
    inside = _place_form(labels_B, x, y, centre_B2, half_B, (2 * turn - 1) * MAX_TURN)
    hidden = draw_occluders(rng, count, x, y, centre_B2, half_B)
    num_hidden = np.count_nonzero(inside & hidden, axis=(1, 2))
    keeps = num_hidden <= MAX_OCCLUDED * np.count_nonzero(inside, axis=(1, 2))
    hidden &= keeps[:, None, None]
    return _pixel_means(inside), _pixel_means(hidden)


def _place_form(
    labels_B: NDArray[np.int64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    centre_B2: NDArray[np.float64],
    half_B: NDArray[np.float64],
    turn_B: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return which sub-pixels each object covers, (B, 4 H, 4 W) bool."""
    # The rotation from the tangent of half its angle: no sine, whose last bit varies by machine.
    scale_B = TEMPLATE_SIDE / 2 / half_B / (1 + turn_B * turn_B)
    cosine = (scale_B * (1 - turn_B * turn_B))[:, None, None]
    sine = (scale_B * 2 * turn_B)[:, None, None]
    dx, dy = x - centre_B2[:, 0, None, None], y - centre_B2[:, 1, None, None]
    column = np.floor(cosine * dx + sine * dy).astype(np.int64) + TEMPLATE_SIDE // 2
    row = np.floor(cosine * dy - sine * dx).astype(np.int64) + TEMPLATE_SIDE // 2
    within = (column >= 0) & (column < TEMPLATE_SIDE) & (row >= 0) & (row < TEMPLATE_SIDE)
    place = (labels_B[:, None, None] * TEMPLATE_SIDE + row) * TEMPLATE_SIDE + column
    covered: NDArray[np.bool_] = form_templates().reshape(-1)[np.where(within, place, 0)] & within
    return covered


def _pixel_means(subpixels: NDArray[np.bool_]) -> NDArray[np.float64]:
    blocks = subpixels.reshape(len(subpixels), SIDE, _SUBPIXELS, SIDE, _SUBPIXELS)
    return np.count_nonzero(blocks, axis=(2, 4)) / _SUBPIXELS**2


def _shading(rng: KeyedStream, count: int) -> NDArray[np.float64]:
    """Return how much lighter or darker an object is at each pixel, (B, H, W)."""
    slope_B2 = uniform(rng, count, 2, -25.0, 25.0)[..., None, None]
    ticks = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    shade: NDArray[np.float64] = slope_B2[:, 0] * ticks[None, None, :]
    return shade + slope_B2[:, 1] * ticks[None, :, None]
