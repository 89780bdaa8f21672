"""The usual geometry of training and evaluation, drawn for a whole batch from keyed streams.

One object serves both ways of loading, in-memory images as one array and images decoded one by one:
the same parameters give the same pixels and the same views.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from loaders.checks import check_range
from loaders.errors import DataError, OptionError
from loaders.randomness import Uniforms
from loaders.view_batch import ViewBatch

# B images, H W pixels of an image, S side of the output, T tries.

Image = TypeVar("Image", NDArray[np.uint8], torch.Tensor)
"""(H, W, 3) uint8."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class CropParams:
    """What to cut from each image, in its own pixels; the output is mirrored afterwards."""

    tops: NDArray[np.int64]
    """(B,) first row, below 0 where the cut begins in the padding."""

    lefts: NDArray[np.int64]
    """(B,) first column, below 0 where the cut begins in the padding."""

    heights: NDArray[np.int64]
    """(B,) rows of the cut."""

    widths: NDArray[np.int64]
    """(B,) columns of the cut."""

    flips: NDArray[np.bool_]
    """(B,) True where the output is mirrored left to right."""

    def __len__(self) -> int:
        return len(self.tops)

    def part(self, rows: slice) -> "CropParams":
        """Return the parameters of some images that follow each other."""
        return CropParams(
            tops=self.tops[rows],
            lefts=self.lefts[rows],
            heights=self.heights[rows],
            widths=self.widths[rows],
            flips=self.flips[rows],
        )


@dataclass(frozen=True, slots=True)
class CropFlip:
    """CIFAR's geometry: pad with zeros, cut a random square, mirror every other image.

    Raises:
        OptionError: If size is below 1 or padding below 0.
    """

    size: int
    """Side S of the output in pixels."""

    padding: int = 4
    """Zeros added on each side before the cut, in pixels."""

    flip: bool = True
    """Mirror left to right with probability 1/2."""

    def __post_init__(self) -> None:
        _check_side(self.size)
        if self.padding < 0:
            raise OptionError(f"padding must be at least 0, got {self.padding}")

    def draw(
        self, num: int, stream: Uniforms, image_size: tuple[int, int] | None = None
    ) -> CropParams:
        """Return crops of `num` images, from three numbers a row of `stream`.

        Args:
            num: Number of images B.
            stream: Gives uniform numbers.
            image_size: (H, W) of the images; None means S x S.

        Raises:
            DataError: If a padded image is smaller than the cut.
        """
        height, width = image_size or (self.size, self.size)
        spare = np.array([height, width]) + (2 * self.padding - self.size)
        if spare.min() < 0:
            raise DataError(
                f"images of a {self.size} pixel crop must have at least "
                f"{self.size - 2 * self.padding} pixels a side, got {(height, width)}"
            )
        uniforms_B3 = stream.random((num, 3))
        starts_B2 = (uniforms_B3[:, :2] * (spare + 1)).astype(np.int64) - self.padding
        sides_B = np.full(num, self.size)
        return CropParams(
            tops=starts_B2[:, 0],
            lefts=starts_B2[:, 1],
            heights=sides_B,
            widths=sides_B,
            flips=np.logical_and(uniforms_B3[:, 2] < 0.5, self.flip),
        )

    def views(self, params: CropParams, image_size: tuple[int, int]) -> ViewBatch:
        """Return the views of the outputs; padding lies outside their clips."""
        sizes_B2 = np.broadcast_to(image_size, (len(params), 2))
        return _crop_views(params, sizes_B2, self.size, frames=True)

    def apply_arrays(self, images: NDArray[np.uint8], params: CropParams) -> NDArray[np.uint8]:
        """Return the outputs of images (B, H, W, 3) uint8, channels first: (B, 3, S, S) uint8."""
        if images.ndim != 4 or images.dtype != np.uint8:
            raise DataError(f"images must be (B, H, W, C) uint8, got {images.shape} {images.dtype}")
        num, height, width, channels = images.shape
        side, margin = self.size, self.padding
        padded = np.zeros((num, height + 2 * margin, width + 2 * margin, channels), dtype=np.uint8)
        padded[:, margin : margin + height, margin : margin + width] = images
        # One element for each place where an output row could begin, they overlap: a gather then
        # copies whole rows. Pixel by pixel costs ten times as much.
        row_bytes = side * channels
        num_places = max(padded.size - row_bytes + 1, 0)
        places = np.ndarray(num_places, f"V{row_bytes}", padded, strides=(1,))
        row_BS = (params.tops + margin)[:, None] + np.arange(side)
        row_BS += np.arange(num)[:, None] * padded.shape[1]
        first_BS = (row_BS * padded.shape[2] + (params.lefts + margin)[:, None]) * channels
        output = places[first_BS].view(np.uint8).reshape(num, side, side, channels)
        planes = np.ascontiguousarray(output.transpose(0, 3, 1, 2))
        planes[params.flips] = _mirrored(planes[params.flips])
        return planes

    def apply_image(self, image: Image, params: CropParams, row: int) -> Image:
        """Return the output (S, S, 3) uint8 of one image (H, W, 3) uint8, row `row` of `params`."""
        top, left = int(params.tops[row]), int(params.lefts[row])
        pixels = np.asarray(image)
        height, width = pixels.shape[:2]
        output = np.zeros((self.size, self.size, pixels.shape[2]), dtype=np.uint8)
        y0, x0 = max(top, 0), max(left, 0)
        part = pixels[y0 : min(top + self.size, height), x0 : min(left + self.size, width)]
        output[y0 - top :, x0 - left :][: part.shape[0], : part.shape[1]] = part
        return _like(output[:, ::-1] if params.flips[row] else output, image)


@dataclass(frozen=True, slots=True)
class ResizedCropFlip:
    """ImageNet's geometry: a cut of random area and aspect, resized to a square, half mirrored.

    The law is that of torchvision's RandomResizedCrop: ten tries, then the largest central cut
    whose aspect is allowed.

    Raises:
        OptionError: If size is below 1, or scale or ratio is no range above 0.
    """

    size: int
    """Side S of the output in pixels."""

    scale: tuple[float, float] = (0.08, 1.0)
    """Share of the image's area that is cut: uniform."""

    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Width over height of the cut: uniform in its logarithm."""

    flip: bool = True
    """Mirror left to right with probability 1/2."""

    tries: int = 10
    """Cuts drawn before the central one is taken."""

    def __post_init__(self) -> None:
        _check_side(self.size)
        check_range("scale", self.scale, limit=1.0)
        check_range("ratio", self.ratio)
        if self.tries < 1:
            raise OptionError(f"tries must be at least 1, got {self.tries}")

    def draw(self, sizes: NDArray[np.int64], stream: Uniforms) -> CropParams:
        """Return crops of images of `sizes` (B, 2) int64 rows (H, W)."""
        num = len(sizes)
        uniforms_BK = stream.random((num, 2 * self.tries + 3))
        sides_BT2 = self._sides(sizes, uniforms_BK[:, 3:].reshape(num, self.tries, 2))
        fits_BT = ((sides_BT2 > 0) & (sides_BT2 <= sizes[:, None])).all(axis=2)
        found_B1 = fits_BT.max(axis=1, keepdims=True)
        drawn_B2 = sides_BT2[np.arange(num), fits_BT.argmax(axis=1)]
        cut_B2 = np.where(found_B1, drawn_B2, self._central(sizes))
        spare_B2 = sizes - cut_B2
        random_B2 = (uniforms_BK[:, :2] * (spare_B2 + 1)).astype(np.int64)
        starts_B2 = np.where(found_B1, random_B2, spare_B2 // 2)
        return CropParams(
            tops=starts_B2[:, 0],
            lefts=starts_B2[:, 1],
            heights=cut_B2[:, 0],
            widths=cut_B2[:, 1],
            flips=np.logical_and(uniforms_BK[:, 2] < 0.5, self.flip),
        )

    def views(self, params: CropParams, sizes: NDArray[np.int64]) -> ViewBatch:
        """Return the views of the outputs, which show nothing beyond their images."""
        return _crop_views(params, sizes, self.size, frames=False)

    def apply_image(self, image: Image, params: CropParams, row: int) -> Image:
        """Return the output (S, S, 3) uint8 of one image (H, W, 3) uint8, row `row` of `params`."""
        top, left = int(params.tops[row]), int(params.lefts[row])
        bottom, right = top + int(params.heights[row]), left + int(params.widths[row])
        output = _resized(np.asarray(image)[top:bottom, left:right], self.size)
        return _like(output[:, ::-1] if params.flips[row] else output, image)

    def _sides(
        self, sizes_B2: NDArray[np.int64], uniforms_BT2: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Return the (h, w) of every try: (B, T, 2) int64."""
        area_BT = sizes_B2.prod(axis=1)[:, None] * (
            self.scale[0] + (self.scale[1] - self.scale[0]) * uniforms_BT2[..., 0]
        )
        ratio_BT = self.ratio[0] * (self.ratio[1] / self.ratio[0]) ** uniforms_BT2[..., 1]
        sides_BT2 = np.sqrt(np.stack((area_BT / ratio_BT, area_BT * ratio_BT), axis=2))
        return np.rint(sides_BT2).astype(np.int64)

    def _central(self, sizes_B2: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the largest (h, w) of an allowed aspect: (B, 2) int64."""
        height_B, width_B = sizes_B2.T
        aspect_B = width_B / height_B
        tall_B, wide_B = aspect_B < self.ratio[0], aspect_B > self.ratio[1]
        cut_height_B = np.where(tall_B, np.rint(width_B / self.ratio[0]), height_B)
        cut_width_B = np.where(wide_B, np.rint(height_B * self.ratio[1]), width_B)
        return np.stack((cut_height_B, cut_width_B), axis=1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Whole:
    """Geometry without chance: the whole image, squashed to a square.

    Raises:
        OptionError: If size is below 1.
    """

    size: int
    """Side S of the output in pixels."""

    def __post_init__(self) -> None:
        _check_side(self.size)

    def views(self, num: int) -> ViewBatch:
        """Return the views of `num` outputs."""
        return ViewBatch.whole(num, (self.size, self.size))

    def apply_image(self, image: Image) -> Image:
        """Return the output (S, S, 3) uint8 of one image (H, W, 3) uint8."""
        return _like(_resized(np.asarray(image), self.size), image)


def _mirrored(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return planes (..., W) uint8 mirrored left to right."""
    if planes.shape[-1] % 8:
        return planes[..., ::-1]
    # Eight pixels at a time: their order, and the order within them.
    return planes.view(np.uint64)[..., ::-1].byteswap().view(np.uint8)


def _check_side(size: int) -> None:
    if size < 1:
        raise OptionError(f"size must be at least 1, got {size}")


def _like(pixels: NDArray[np.uint8], image: Image) -> Image:
    """Return the pixels as the kind of thing that `image` is; an array may be a mirrored view."""
    if isinstance(image, torch.Tensor):
        return torch.from_numpy(np.ascontiguousarray(pixels))
    return pixels


def _resized(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return (side, side, 3) uint8, bilinear with antialiasing; unchanged where it fits."""
    if pixels.shape[:2] == (side, side):
        return pixels
    channels_first = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
    # What torchvision's resize comes down to, without its 50 us of dispatch.
    resized = torch.nn.functional.interpolate(
        channels_first[None], size=(side, side), mode="bilinear", antialias=True
    )
    output: NDArray[np.uint8] = resized[0].permute(1, 2, 0).numpy()
    return output


def _crop_views(
    params: CropParams, sizes_B2: NDArray[np.int64], side: int, *, frames: bool
) -> ViewBatch:
    """Return the views of crops resized to side x side, then mirrored.

    Args:
        params: B crops.
        sizes_B2: (H, W) of each image.
        side: Side of the outputs.
        frames: True if a crop may reach beyond its image.
    """
    num = len(params)
    height_B, width_B = sizes_B2.T
    step_B33 = np.zeros((num, 3, 3))
    scale_B = params.widths / side
    step_B33[:, 0, 0] = np.where(params.flips, -scale_B, scale_B)
    step_B33[:, 0, 2] = np.where(params.flips, params.lefts + params.widths, params.lefts)
    step_B33[:, 1, 1] = params.heights / side
    step_B33[:, 1, 2] = params.tops
    step_B33[:, 2, 2] = 1.0
    lengths_B3 = np.stack((width_B, height_B, np.ones(num)), axis=1)
    planes_BP3 = np.zeros((num, 4 if frames else 0, 3))
    if frames:
        # 0 < x and x < W, 0 < y and y < H on the image, as half planes of the output.
        for axis, length_B in ((0, width_B), (1, height_B)):
            slope_B, start_B = step_B33[:, axis, axis], step_B33[:, axis, 2]
            first, last = 2 * axis, 2 * axis + 1
            planes_BP3[:, first, axis], planes_BP3[:, first, 2] = slope_B, start_B
            planes_BP3[:, last, axis], planes_BP3[:, last, 2] = -slope_B, length_B - start_B
            planes_BP3[:, first : last + 1] /= np.abs(slope_B)[:, None, None]
    return ViewBatch(
        matrices=step_B33 / lengths_B3[:, :, None], half_planes=planes_BP3, size=(side, side)
    )
