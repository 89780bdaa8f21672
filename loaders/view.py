"""Where the pixels of an augmented image come from: the view that a saliency map is read through.

A `View` goes through a `torchvision.transforms.v2` pipeline beside its image. Each geometric
functional composes its own step into the view's matrix and adds the canvas it read beyond, so that
afterwards every output pixel knows its place on the map, or that it shows no part of the image.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_leaves
from torchvision import tv_tensors

from loaders.errors import GeometryError
from loaders.view_kernels import register_kernels, resized_size
from loaders.view_steps import Matrix, Size, scale_shift

HalfPlane = tuple[float, float, float]
"""(a, b, c): the points with a*x + b*y + c > 0; (a, b) has length 1, so c counts in pixels."""

_HOLDER = torch.empty(0)
"""What a view is made of as a tensor. The matrix stays out of it: tensor algebra on 3x3 values
costs some hundred times as much as Python floats."""


class View(tv_tensors.TVTensor):
    """The map from output pixels to a saliency map, and the clips on the way.

    Args:
        matrix: Takes (x, y, 1) of an output pixel, pixel centres at +0.5, to homogeneous (u, v)
            over the whole image, [0, 1] from edge to edge.
        half_planes: Conditions in output-pixel coordinates. Only a pixel that fulfils all of them
            shows a part of the image; any other was filled in (A_hat = 0 there).
        size: (H, W) of the current canvas.

    Raises:
        GeometryError: If the size is not positive.
    """

    matrix: Matrix
    half_planes: tuple[HalfPlane, ...]
    size: Size

    def __new__(cls, matrix: Matrix, half_planes: tuple[HalfPlane, ...], size: Size) -> "View":
        """Make a view; the tensor underneath is empty."""
        height, width = size
        if height < 1 or width < 1:
            raise GeometryError(f"size of a view must be at least (1, 1), got {size}")
        view = _HOLDER.as_subclass(cls)
        view.matrix, view.half_planes, view.size = matrix, half_planes, (height, width)
        return view

    @classmethod
    def whole(cls, size: Size) -> "View":
        """Return the view of an untouched image of (H, W) pixels."""
        height, width = size
        if height < 1 or width < 1:
            raise GeometryError(f"size of a view must be at least (1, 1), got {size}")
        return cls((1 / width, 0.0, 0.0, 0.0, 1 / height, 0.0, 0.0, 0.0, 1.0), (), size)

    def moved(self, step: Matrix, size: Size, *, frames: bool) -> "View":
        """Return the view after one more operation.

        Args:
            step: Takes (x, y, 1) of a new output pixel to homogeneous coordinates on this canvas.
            size: (H, W) of the new canvas.
            frames: True if the operation may show what lies outside this canvas; its four edges
                then become half planes.
        """
        planes = self.half_planes
        if frames:
            height, width = self.size
            planes += ((1, 0, 0), (-1, 0, width), (0, 1, 0), (0, -1, height))
        moved_planes = [_plane_times(plane, step) for plane in planes]
        return View(_multiply(self.matrix, step), _cutting(moved_planes, size), size)

    def cropped(self, top: int, left: int, height: int, width: int) -> "View":
        """Return the view of a crop; a crop may reach beyond the canvas."""
        beyond = top < 0 or left < 0 or top + height > self.size[0] or left + width > self.size[1]
        return self.moved(scale_shift(1, 1, left, top), (height, width), frames=beyond)

    def padded(self, left: int, top: int, right: int, bottom: int) -> "View":
        """Return the view after padding; a negative padding cuts."""
        height, width = self.size
        return self.cropped(-top, -left, height + top + bottom, width + left + right)

    def resized(self, size: Sequence[int] | int | None, max_size: int | None = None) -> "View":
        """Return the view after a resize; the arguments are those of `v2.functional.resize`."""
        height, width = self.size
        new_height, new_width = resized_size(self.size, size, max_size)
        step = scale_shift(width / new_width, height / new_height, 0, 0)
        return self.moved(step, (new_height, new_width), frames=False)

    def flipped(self, *, horizontal: bool) -> "View":
        """Return the view of the mirrored canvas: left to right, or top to bottom."""
        height, width = self.size
        step = scale_shift(-1, 1, width, 0) if horizontal else scale_shift(1, -1, 0, height)
        return self.moved(step, self.size, frames=False)

    @classmethod
    def wrap(cls, tensor: torch.Tensor, like: "View", **_: object) -> "View":
        """Return a view like `like`: `tv_tensors.wrap` and the tensor methods come here."""
        return cls(like.matrix, like.half_planes, like.size)

    @classmethod
    def _wrap_output(
        cls,
        output: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        # clone, detach, to and pin_memory return a bare subclass: give it the attributes back.
        like = next(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, View))
        if isinstance(output, torch.Tensor):
            return cls.wrap(output, like)
        return super()._wrap_output(output, args, kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> "View":
        return View(self.matrix, self.half_planes, self.size)

    def __reduce_ex__(self, protocol: object) -> tuple[type["View"], tuple[Any, ...]]:
        return View, (self.matrix, self.half_planes, self.size)

    def __repr__(self, **_: object) -> str:
        return f"View(matrix={self.matrix}, half_planes={self.half_planes}, size={self.size})"


def _plane_times(row: Sequence[float], matrix: Matrix) -> HalfPlane:
    a, b, c = row
    m = matrix
    return (
        a * m[0] + b * m[3] + c * m[6],
        a * m[1] + b * m[4] + c * m[7],
        a * m[2] + b * m[5] + c * m[8],
    )


def _multiply(left: Matrix, right: Matrix) -> Matrix:
    return (
        *_plane_times(left[0:3], right),
        *_plane_times(left[3:6], right),
        *_plane_times(left[6:9], right),
    )


def _cutting(planes: list[HalfPlane], size: Size) -> tuple[HalfPlane, ...]:
    """Keep the half planes that exclude a pixel of the canvas, the tightest of each direction."""
    height, width = size
    tightest: dict[tuple[float, float], float] = {}
    for a, b, c in planes:
        length = math.hypot(a, b)
        if length > 0:
            a, b, c = a / length, b / length, c / length
        # A linear function is smallest at one of the four corner pixels.
        smallest = c + (a if a > 0 else a * (2 * width - 1)) / 2
        smallest += (b if b > 0 else b * (2 * height - 1)) / 2
        if smallest <= 0:
            # Adding 0.0 makes -0.0 and 0.0 one direction.
            direction = (a + 0.0, b + 0.0)
            tightest[direction] = min(c, tightest.get(direction, c))
    return tuple((a, b, c) for (a, b), c in tightest.items())


register_kernels(View)
