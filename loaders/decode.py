"""Decoding image files to 8-bit RGB, and batches of them at one size.

JPEG goes through simplejpeg (libjpeg-turbo without the GIL); every other format, and the few JPEGs
that it refuses for other reasons than being cut short, through Pillow. Both give the same bytes.
Orientation tags (EXIF) and alpha are ignored.

Shape letters: B images, C channels, H height, W width.
"""

import io
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loaders.errors import ImageReadError, OptionError
from loaders.image_data import ArrayData, ImageData

if TYPE_CHECKING:
    import torch

__all__ = [
    "THREADS_FROM_BYTES",
    "decode_bytes",
    "read_bytes",
    "read_resized",
    "read_squashed",
    "squash_rows",
]

THREADS_FROM_BYTES = 64 * 64 * 3
"""Below this size of an image, threads wait for each other longer than for the decoder."""

_JPEG_MAGIC = b"\xff\xd8\xff"
"""First bytes of a JPEG; the file's suffix may lie."""

_SCAN, _END = b"\xff\xda", b"\xff\xd9"
"""Markers of a JPEG: a scan begins, the image ends."""

_CUT_SHORT = re.compile("premature end", re.IGNORECASE)
"""What libjpeg says of a file that ends too early. Pillow would fill some of these with grey,
depending on a switch of its own, so it is not asked."""


def read_bytes(path: str) -> bytes:
    """Return the bytes of the file at `path`.

    Raises:
        ImageReadError: If it is missing or can't be read; the message names it.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error


def decode_bytes(path: str, content: bytes) -> NDArray[np.uint8]:
    """Return the image in a file's bytes, (H, W, 3) uint8 RGB.

    Args:
        path: Of the file, for messages.
        content: Its bytes.

    Raises:
        ImageReadError: If the file is empty, cut short or no image; the message names it.
    """
    if not content:
        raise _unreadable(path, "the file is empty")
    if content.startswith(_JPEG_MAGIC):
        pixels = _decode_jpeg(path, content)
        if pixels is not None:
            return pixels
    return _decode_with_pillow(path, content)


def _decode_jpeg(path: str, content: bytes) -> NDArray[np.uint8] | None:
    """Return the pixels, None for what Pillow should look at."""
    import simplejpeg

    try:
        if simplejpeg.decode_jpeg_header(content)[2] not in ("YCbCr", "Gray", "RGB"):
            return None
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(content, "RGB")
    except ValueError as error:
        # Without an end mark after the last scan the file is cut, whatever else is wrong with it.
        if _CUT_SHORT.search(str(error)) or content.rfind(_END) < content.rfind(_SCAN):
            raise _unreadable(path, str(error)) from error
        return None
    return pixels


def _decode_with_pillow(path: str, content: bytes) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip, not scale
                grey_HW = _to_8_bits(np.asarray(image).astype(np.uint16))
                return np.repeat(grey_HW[..., None], 3, axis=2)
            return np.array(image.convert("RGB"))
    except UnidentifiedImageError as error:
        raise _unreadable(path, "no image format that is known here") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, str(error)) from error


def _to_8_bits(image: NDArray[np.uint16]) -> NDArray[np.uint8]:
    return (image >> 8).astype(np.uint8)


def _unreadable(path: str, reason: str) -> ImageReadError:
    return ImageReadError(f"cannot read image {path}: {reason}; replace or remove this file")


@overload
def read_resized(
    data: ImageData,
    rows: ArrayLike,
    size: int,
    threads: int = 1,
    *,
    on_error: Literal["raise"] = "raise",
) -> "torch.Tensor": ...


@overload
def read_resized(
    data: ImageData,
    rows: ArrayLike,
    size: int,
    threads: int = 1,
    *,
    on_error: Literal["skip"],
) -> "tuple[torch.Tensor, NDArray[np.bool_]]": ...


def read_resized(
    data: ImageData,
    rows: ArrayLike,
    size: int,
    threads: int = 1,
    *,
    on_error: Literal["raise", "skip"] = "raise",
) -> "torch.Tensor | tuple[torch.Tensor, NDArray[np.bool_]]":
    """Return whole images, each squashed to `size` x `size` pixels, with antialiasing.

    Args:
        data: The data set.
        rows: (B,) rows of it; a row may occur more than once.
        size: Height and width in pixels; images that have it already are not changed.
        threads: Images decoded at the same time; 1 = in the calling thread.
        on_error: "raise", or "skip": leave zeros where an image can't be read.

    Returns:
        (B, 3, size, size) uint8 tensor; with "skip" also (B,) bool, True = not readable.

    Raises:
        ImageReadError: With "raise", for the first row whose image can't be read.
        OptionError: If size or threads is below 1, or on_error is neither word.
        DataError: If a row is outside the data set.
    """
    import torch

    _check_options(size, threads, on_error)
    rows_B = data.check_rows(rows)
    if isinstance(data, ArrayData):
        squashed_BSS3 = torch.from_numpy(_squashed(data.images[rows_B], size))
        images = squashed_BSS3.permute(0, 3, 1, 2).contiguous()
        unreadable = np.zeros(len(rows_B), np.bool_)
    else:
        images, unreadable = _read_files(data, rows_B, size, threads, skip=on_error == "skip")
    return (images, unreadable) if on_error == "skip" else images


def _check_options(size: int, threads: int, on_error: str) -> None:
    if size < 1 or threads < 1:
        raise OptionError(f"size and threads must be 1 or more, got size={size} threads={threads}")
    if on_error not in ("raise", "skip"):
        raise OptionError(f"on_error must be 'raise' or 'skip', got {on_error!r}")


def read_squashed(data: ImageData, row: int, out_SS3: NDArray[np.uint8]) -> int:
    """Read one image and write it, squashed whole to the size of `out_SS3`, in there.

    Args:
        data: The data set.
        row: A row of it.
        out_SS3: (S, S, 3) uint8, which is written.

    Returns:
        Bytes of the image before it was squashed.

    Raises:
        ImageReadError: If the image can't be read.
    """
    image_HWC = data.read(row)
    # NumPy copies in this thread alone. torch would share even so small a copy out to all threads
    # of its pool, which a thread of ours has a second one of: 0.4 ms become 12 on a busy machine.
    out_SS3[:] = _squashed(image_HWC[None], len(out_SS3))[0]
    return image_HWC.nbytes


def squash_rows(data: ArrayData, rows: range, out_BSS3: NDArray[np.uint8]) -> None:
    """Write images that are in memory, squashed to the size of `out_BSS3`, in there.

    Args:
        data: The data set.
        rows: B rows of it.
        out_BSS3: (B or more, S, S, 3) uint8; the first B images are written.
    """
    images_BHW3 = data.images[rows.start : rows.stop].copy()  # torch warns of read-only arrays
    out_BSS3[: len(rows)] = _squashed(images_BHW3, out_BSS3.shape[1])


def _read_files(
    data: ImageData, rows: NDArray[np.int64], size: int, threads: int, *, skip: bool
) -> "tuple[torch.Tensor, NDArray[np.bool_]]":
    import torch

    images_BSS3 = np.zeros((len(rows), size, size, 3), np.uint8)
    unreadable_B = np.zeros(len(rows), np.bool_)

    def read_one(place: int) -> int:
        try:
            return read_squashed(data, int(rows[place]), images_BSS3[place])
        except ImageReadError:
            if not skip:
                raise
            unreadable_B[place] = True
            return 0

    places = iter(range(len(rows)))
    # The first image tells whether threads are worth it.
    if threads == 1 or max(map(read_one, islice(places, 1)), default=0) < THREADS_FROM_BYTES:
        for place in places:
            read_one(place)
    else:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(read_one, places):
                pass
    return torch.from_numpy(images_BSS3).permute(0, 3, 1, 2).contiguous(), unreadable_B


def _squashed(images_BHW3: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return images at `size`, (B, S, S, 3); those given if they have it."""
    import torch
    from torchvision.transforms.v2 import functional

    if images_BHW3.shape[1:3] == (size, size):
        return images_BHW3
    resized_BCSS: torch.Tensor = functional.resize(
        torch.from_numpy(images_BHW3).permute(0, 3, 1, 2),
        [size, size],
        interpolation=functional.InterpolationMode.BILINEAR,
        antialias=True,
    )
    squashed_BSS3: NDArray[np.uint8] = resized_BCSS.permute(0, 2, 3, 1).numpy()
    return squashed_BSS3
