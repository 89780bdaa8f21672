"""GridMask (Chen et al., 2020): a lattice of squares, erased ever more often.

Legend: E samples to be masked, H, W sides of an image, D side of the canvas that is turned.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from loaders.checks import check_count, check_number, check_share
from loaders.errors import OptionError
from loaders.methods.draft import Draft
from loaders.methods.method import Method, MethodOptions, Setting
from loaders.policy import Event

__all__ = ["GridMask"]

RAMP_SHARE = 0.8
"""Part of the training in which the probability grows; the official ImageNet run's 240 of 300."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GridMask(Method, MethodOptions):
    """Erase a lattice of squares (mode 1), or all but one (mode 0).

    Defaults are the author's for CIFAR-10. With mode 1 about (1 - ratio)**2 of a masked image is
    erased.

    Raises:
        OptionError: If an option is outside its range.
    """

    name: ClassVar[str] = "grid_mask"

    period: tuple[int, int] = (24, 33)
    """Range of the lattice's period d in pixels, upper bound excluded; (96, 224) on ImageNet."""

    ratio: float = 0.4
    """Share of a period that the strips between squares take, above 0 and below 1; 0.6 on
    ImageNet. A strip is ceil(d * ratio) pixels wide."""

    rotate: int = 1
    """The lattice is turned by a whole number of degrees below this, 1 to 360; 1: not at all."""

    mode: Literal[0, 1] = 1
    """1 erases the squares, 0 erases the strips."""

    prob: float = 0.8
    """Probability of an image to be masked once it has grown, in [0, 1]."""

    ramp_epochs: int | None = None
    """Epochs in which the probability grows from 0; None: 0.8 of the training; 0: no ramp."""

    def __post_init__(self) -> None:
        low, high = self.period
        if not (all(isinstance(one, int) for one in self.period) and 2 <= low < high):
            raise OptionError(
                "period must be two whole numbers (low, high) with 2 <= low < high, the upper "
                f"bound excluded, got {self.period}"
            )
        check_number("ratio", self.ratio, "above 0 and below 1", lambda value: 0 < value < 1)
        check_number(
            "rotate",
            self.rotate,
            "a whole number in [1, 360]",
            lambda value: 1 <= value <= 360,
            whole=True,
        )
        if self.mode not in (0, 1):
            raise OptionError(f"mode must be 0 or 1, got {self.mode!r}")
        check_share("prob", self.prob)
        if self.ramp_epochs is not None:
            check_count("ramp_epochs", self.ramp_epochs, 0)

    def build(self, setting: Setting) -> "GridMask":
        """Return the method for a run, with its ramp's length.

        Raises:
            OptionError: If a period is larger than the image.
        """
        largest = self.period[1] - 1
        if largest > setting.size:
            raise OptionError(
                f"period of grid_mask must stay within the image's {setting.size} pixels, got up "
                f"to {largest}: most masks would hold one strip or none; set period = "
                f"[{max(2, setting.size * 3 // 4)}, {setting.size + 1}]"
            )
        if self.ramp_epochs is not None:
            return self
        return replace(self, ramp_epochs=round(RAMP_SHARE * setting.num_epochs))

    def probability(self, epoch: int) -> float:
        """Return the probability at a 0-based epoch: prob * min(1, epoch / ramp_epochs)."""
        return self.prob * min(1.0, epoch / self.ramp_epochs) if self.ramp_epochs else self.prob

    def apply(self, draft: Draft) -> None:
        """Mask the chosen images of a batch."""
        chance = self.probability(draft.key.epoch)
        slots_E = np.flatnonzero(draft.stream("event").random((len(draft), 1))[:, 0] < chance)
        uniforms_E4 = draft.stream("grid", slots_E).random((len(slots_E), 4))
        for slot, uniforms in zip(slots_E, uniforms_E4, strict=True):
            kept_HW = self.kept(draft.size, uniforms)
            draft.images[slot] *= torch.from_numpy(kept_HW)
            draft.erased[slot] = kept_HW.size - np.count_nonzero(kept_HW)
        draft.events[slots_E] = Event.ERASE

    def kept(self, size: tuple[int, int], uniforms: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which pixels one mask keeps.

        Args:
            size: (H, W) of the image.
            uniforms: (4,) float64 in [0, 1): for the period, the offsets down and right, the angle.

        Returns:
            (H, W) bool.
        """
        height, width = size
        side = math.ceil(math.hypot(height, width))
        low, high = self.period
        period = low + int(uniforms[0] * (high - low))
        strip = math.ceil(period * self.ratio)
        down, right = (int(uniform * period) for uniform in uniforms[1:3])
        angle = int(uniforms[3] * self.rotate)
        place_D = np.arange(side)
        strips_D, columns_D = ((place_D - start) % period < strip for start in (down, right))
        top, left = (side - height) // 2, (side - width) // 2
        if angle == 0:
            strips_D, columns_D = strips_D[top : top + height], columns_D[left : left + width]
        squares = ~(strips_D[:, None] | columns_D[None, :])
        if angle:
            turned = Image.fromarray(squares.astype(np.uint8)).rotate(angle)
            squares = np.asarray(turned)[top : top + height, left : left + width] != 0
        return ~squares if self.mode == 1 else squares
