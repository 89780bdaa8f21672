"""The erased rectangle: its sides, its place around the centre, and the erasing itself (Eq. 1)."""

from collections.abc import Sequence
from typing import Any, TypedDict, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from loaders.checks import check_range, check_word
from loaders.errors import DataError, OptionError
from loaders.randomness import KeyedStream, Uniforms

# B images or boxes, C channels, H W pixels, T tries.

Images = TypeVar("Images", NDArray[Any], torch.Tensor)

NUMPY_TYPES = (torch.float32, torch.float16, torch.float64, torch.uint8)
"""Tensor types that NumPy has too."""


FIRST_TRIES = 3
"""Pairs of sides drawn for every row of a keyed stream; few rows need more."""


class _Law(TypedDict):
    area: tuple[float, float]
    aspect: tuple[float, float]
    aspect_law: str


def sample_sides(
    num: int,
    size: tuple[int, int],
    rng: Uniforms,
    *,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
    aspect_law: str = "uniform",
    tries: int = 10,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the sides of erasing rectangles as Random Erasing does, and cut what never fits.

    Area S is uniform, aspect r is uniform or log-uniform, h = round(sqrt(S r)) and
    w = round(sqrt(S / r)). A pair that is not smaller than the image is drawn again, up to `tries`
    times in all; the last pair is then cut to the image. A side is at least 1 pixel.

    Args:
        num: Number of rectangles B.
        size: (H, W) of the images.
        rng: Gives uniform numbers, 2 * tries a row; of a `KeyedStream`, most rows take the first
            few alone.
        area: Range of the erased share of the image, within (0, 1].
        aspect: Range of height over width, above 0.
        aspect_law: "uniform" or "log".
        tries: Pairs drawn at most, at least 1.

    Returns:
        heights (B,) and widths (B,), int64, in [1, H] and [1, W].

    Raises:
        OptionError: If an option is outside its range.
    """
    law: _Law = {"area": area, "aspect": aspect, "aspect_law": aspect_law}
    if not isinstance(rng, KeyedStream) or tries <= FIRST_TRIES:
        return _first_fitting(*try_sides(num, size, rng, **law, tries=tries), size)
    heights_BT, widths_BT, fits_BT = try_sides(num, size, rng, **law, tries=FIRST_TRIES)
    heights_B, widths_B = _first_fitting(heights_BT, widths_BT, fits_BT, size)
    # A row's stream goes on by itself: only the few rows that none of these fits draw the rest.
    left_Q = np.flatnonzero(~fits_BT.any(axis=1))
    if len(left_Q):
        rest = try_sides(len(left_Q), size, rng.take(left_Q), **law, tries=tries - FIRST_TRIES)
        heights_B[left_Q], widths_B[left_Q] = _first_fitting(*rest, size)
    return heights_B, widths_B


def _first_fitting(
    heights_BT: NDArray[np.float64],
    widths_BT: NDArray[np.float64],
    fits_BT: NDArray[np.bool_],
    size: tuple[int, int],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each row's first pair that fits, else the last one, cut: (B,) int64 twice."""
    fits_BT = fits_BT.copy()
    fits_BT[:, -1] = True
    each_B, first_B = np.arange(len(fits_BT)), fits_BT.argmax(axis=1)
    return (
        np.clip(heights_BT[each_B, first_B], 1, size[0]).astype(np.int64),
        np.clip(widths_BT[each_B, first_B], 1, size[1]).astype(np.int64),
    )


def try_sides(
    num: int,
    size: tuple[int, int],
    rng: Uniforms,
    *,
    area: tuple[float, float],
    aspect: tuple[float, float],
    aspect_law: str,
    tries: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Draw pairs of sides by the law that `sample_sides` describes, which explains the arguments.

    Returns:
        heights, widths, both (B, tries) float64 whole numbers, and (B, tries) bool: whether a pair
        is smaller than the image.

    Raises:
        OptionError: If an option is outside its range.
    """
    check_range("area", area, limit=1.0)
    check_range("aspect", aspect)
    check_word("aspect_law", aspect_law, ("uniform", "log"))
    if tries < 1:
        raise OptionError(f"tries must be at least 1, got {tries}")
    height, width = size
    uniforms_BT2 = rng.random((num, 2 * tries)).reshape(num, tries, 2)
    area_BT = height * width * (area[0] + (area[1] - area[0]) * uniforms_BT2[..., 0])
    if aspect_law == "log":
        aspect_BT = aspect[0] * (aspect[1] / aspect[0]) ** uniforms_BT2[..., 1]
    else:
        aspect_BT = aspect[0] + (aspect[1] - aspect[0]) * uniforms_BT2[..., 1]
    heights_BT = np.rint(np.sqrt(area_BT * aspect_BT))
    widths_BT = np.rint(np.sqrt(area_BT / aspect_BT))
    return heights_BT, widths_BT, (heights_BT < height) & (widths_BT < width)


def centred_boxes(
    centres: NDArray[np.int64],
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
    size: tuple[int, int],
    *,
    border: str = "clip",
) -> NDArray[np.int64]:
    """Return the rectangles around their centres: [cy - h // 2, cy - h // 2 + h), columns alike.

    Args:
        centres: (B, 2) int64 rows (y, x).
        heights: (B,) int64.
        widths: (B,) int64.
        size: (H, W) of the images.
        border: "clip" cuts at the border; "shift" moves the rectangle inside.

    Returns:
        (B, 4) int64 rows (y0, x0, y1, x1), half open, inside the image.

    Raises:
        OptionError: If `border` is neither word.
    """
    check_word("border", border, ("clip", "shift"))
    sides_B2 = np.stack((heights, widths), axis=1)
    starts_B2 = centres - sides_B2 // 2
    if border == "shift":
        starts_B2 = np.clip(starts_B2, 0, np.maximum(np.asarray(size) - sides_B2, 0))
    boxes_B4 = np.concatenate((starts_B2, starts_B2 + sides_B2), axis=1)
    return np.clip(boxes_B4, 0, np.tile(size, 2))


def erase_rectangles(
    images: Images, boxes: NDArray[np.int64], fill: float | Sequence[float] = 0.0
) -> Images:
    """Erase one rectangle an image, in place (Eq. 1).

    Args:
        images: (B, C, H, W) NumPy array or tensor of any device and number type.
        boxes: (B, 4) int64 rows (y0, x0, y1, x1), half open; an empty one leaves its image alone.
        fill: Value of the erased pixels, one for all or one a channel.

    Returns:
        `images` itself.

    Raises:
        DataError: If the shapes do not fit together.
    """
    if images.ndim != 4 or boxes.shape != (images.shape[0], 4):
        raise DataError(
            f"images must be (B, C, H, W) with one box (4,) each, got {tuple(images.shape)} and "
            f"boxes {boxes.shape}"
        )
    if boxes.size and boxes.min() < 0:
        raise DataError(f"boxes must not begin outside the image, got {boxes.min()}")
    if np.ndim(fill) and len(np.asarray(fill)) != images.shape[1]:
        raise DataError(f"fill must be one value or {images.shape[1]}, got {fill}")
    if isinstance(images, np.ndarray):
        _erase_slices(images, boxes, fill)
    elif images.device.type == "cpu" and images.dtype in NUMPY_TYPES:
        # NumPy's slices cost a fifth of torch's, and this array shares the tensor's memory.
        _erase_slices(images.detach().numpy(), boxes, fill)
    else:
        _erase_masked(images, boxes, fill)
    return images


def _erase_slices(
    images_BCHW: NDArray[Any], boxes_B4: NDArray[np.int64], fill: float | Sequence[float]
) -> None:
    value = np.asarray(fill, dtype=images_BCHW.dtype)
    value = value.reshape(-1, 1, 1) if value.ndim else value
    slots_E = np.flatnonzero((boxes_B4[:, 2:] > boxes_B4[:, :2]).all(axis=1))
    for slot, (y0, x0, y1, x1) in zip(slots_E.tolist(), boxes_B4[slots_E].tolist(), strict=True):
        images_BCHW[slot, :, y0:y1, x0:x1] = value


def _erase_masked(
    images_BCHW: torch.Tensor, boxes_B4: NDArray[np.int64], fill: float | Sequence[float]
) -> None:
    """Erase with one pass over the batch: no kernel launch an image."""
    device = images_BCHW.device
    y0, x0, y1, x1 = torch.from_numpy(boxes_B4).to(device).T[..., None]
    rows = torch.arange(images_BCHW.shape[2], device=device)
    columns = torch.arange(images_BCHW.shape[3], device=device)
    inside_BHW = ((rows >= y0) & (rows < y1))[:, :, None] & ((columns >= x0) & (columns < x1))[
        :, None, :
    ]
    value = torch.as_tensor(fill, dtype=images_BCHW.dtype, device=device)
    value = value.reshape(-1, 1, 1) if value.ndim else value
    images_BCHW.detach().copy_(torch.where(inside_BHW[:, None], value, images_BCHW.detach()))
