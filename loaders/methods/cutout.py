"""Cutout (DeVries and Taylor, 2017): squares of the mean colour, cut at the border.

Legend: B samples, H, W sides of an image, n holes.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from loaders.checks import check_count
from loaders.erasing import centred_boxes, erase_rectangles
from loaders.errors import OptionError
from loaders.methods.draft import Draft
from loaders.methods.method import Method, MethodOptions, Setting

__all__ = ["Cutout"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cutout(Method, MethodOptions):
    """Erase squares around uniform centres in every image.

    Raises:
        OptionError: If an option is outside its range.
    """

    name: ClassVar[str] = "cutout"

    length: int = 8
    """Side of a square in pixels, at least 2: 16 for CIFAR-10, 8 for CIFAR-100. It reaches
    length // 2 pixels either way, so an odd one gives a square one pixel smaller."""

    num_holes: int = 1
    """Squares an image, at least 1."""

    def __post_init__(self) -> None:
        check_count("length", self.length, 2)
        check_count("num_holes", self.num_holes, 1)

    def build(self, setting: Setting) -> "Cutout":
        """Return the method for a run: itself.

        Raises:
            OptionError: If the square is larger than the image.
        """
        if self.length > setting.size:
            raise OptionError(
                f"length of cutout must be at most the image's {setting.size} pixels, "
                f"got {self.length}"
            )
        return self

    def apply(self, draft: Draft) -> None:
        """Erase every image's squares; the first one is recorded as its box."""
        every_B = np.arange(len(draft))
        uniforms_BN = draft.stream("centre").random((len(draft), 2 * self.num_holes))
        boxes_n = [
            self.boxes(draft.size, uniforms_BN[:, 2 * hole : 2 * hole + 2])
            for hole in range(self.num_holes)
        ]
        draft.erase(every_B, boxes_n[0])
        if self.num_holes > 1:
            erased = torch.zeros((len(draft), 1, *draft.size), dtype=torch.uint8)
            for boxes_B4 in boxes_n:
                erase_rectangles(draft.images, boxes_B4)
                erase_rectangles(erased, boxes_B4, 1)
            draft.erased[:] = erased.sum((1, 2, 3), dtype=torch.int64).numpy()

    def boxes(self, size: tuple[int, int], uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the squares around uniform centres, cut at the border.

        Args:
            size: (H, W) of the images.
            uniforms: (B, 2) float64 in [0, 1).

        Returns:
            (B, 4) int64 rows (y0, x0, y1, x1), half open.
        """
        sides_B = np.full(len(uniforms), self.length // 2 * 2)
        return centred_boxes((uniforms * size).astype(np.int64), sides_B, sides_B, size)
