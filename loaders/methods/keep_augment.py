"""KeepAugment (Gong et al., 2021): augment, but spare the regions that matter.

Legend: B samples, H, W sides of an image, P positions of a region, L its side, M chosen samples.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2

from loaders.checks import check_count, check_number, check_share, check_word
from loaders.errors import OptionError
from loaders.methods.draft import Draft
from loaders.methods.method import Method, MethodOptions, Setting
from loaders.methods.pixels import normalised, to_bytes
from loaders.policy import Event
from loaders.randomness import KeyedStream, Uniforms
from loaders.transforms import SEED_RANGE

__all__ = [
    "KeepAugment",
    "KeepAugmentOptions",
    "draw_regions",
    "put_back",
    "region_importance",
]

LEVELS = 2**16
"""Saliency is rounded to as many levels of its highest value: so equal sums are exactly equal."""

SMALL_SIDE = 64
"""Up to this many pixels AutoAugment's policy is the one found for CIFAR-10, else ImageNet's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeepAugmentOptions(MethodOptions):
    """Selective-cut or selective-paste with the quantile rule.

    Raises:
        OptionError: If an option is outside its range.
    """

    name: ClassVar[str] = "keepaugment"

    mode: Literal["cut", "paste"] = "cut"
    """cut erases a square of low importance; paste puts an important square of the image back over
    its augmented self."""

    base: Literal["randaugment", "autoaugment"] = "randaugment"
    """What augments the image in mode paste."""

    saliency: Literal["gradient", "maps"] = "gradient"
    """gradient: of the label's logit by the network in training, one more forward and backward pass
    a step; maps: the cached Grad-CAM maps."""

    length: int = 16
    """Side L of the square in pixels, at least 1."""

    tau: float = 0.6
    """A region may be cut if its importance is below this quantile over all positions, and pasted
    back if it is above; in [0, 1]."""

    prob: float = 1.0
    """Probability of an image to be augmented, in [0, 1]."""

    gradient_size: int | None = None
    """Side that images are shrunk to for the gradient, which is then enlarged: a quarter of the
    pixels cost a quarter of the time; None: the images' own."""

    def __post_init__(self) -> None:
        check_word("mode", self.mode, ("cut", "paste"))
        check_word("base", self.base, ("randaugment", "autoaugment"))
        check_word("saliency", self.saliency, ("gradient", "maps"))
        check_count("length", self.length, 1)
        check_share("tau", self.tau)
        check_share("prob", self.prob)
        if self.gradient_size is not None:
            check_count("gradient_size", self.gradient_size, 1)

    @property
    def reads_maps(self) -> bool:
        """Whether saliency comes from cached maps."""
        return self.saliency == "maps"

    def build(self, setting: Setting) -> "KeepAugment":
        """Return the method for a run.

        Raises:
            OptionError: If the square, or the image shrunk for the gradient, is too large.
        """
        if self.length >= setting.size:
            raise OptionError(
                f"length of keepaugment must be below the image's {setting.size} pixels, "
                f"got {self.length}: there must be positions to choose from"
            )
        if self.gradient_size is not None:
            check_number(
                "gradient_size",
                self.gradient_size,
                f"at most the image's {setting.size} pixels",
                lambda value: value <= setting.size,
            )
        return KeepAugment(self, setting)


class KeepAugment(Method):
    """KeepAugment on a batch.

    With maps everything happens in `apply`. With gradients, which only the process that trains can
    make, `apply` prepares, and that process goes on with `regions`.

    Args:
        options: What can be chosen.
        setting: Says how images were normalised: augmenting needs bytes.
    """

    __slots__ = ("_base", "_setting", "options")

    def __init__(self, options: KeepAugmentOptions, setting: Setting) -> None:
        self.options, self._setting = options, setting
        self._base: torch.nn.Module | None = None
        if options.mode == "paste":
            self._base = _base_augmentation(options.base, setting.size)

    @property
    def needs_maps(self) -> bool:
        """Whether importance comes from cached maps."""
        return self.options.saliency == "maps"

    def guidance(self, epoch: int) -> float:
        """Return 1 where importance comes from cached maps."""
        return float(self.needs_maps)

    def apply(self, draft: Draft) -> None:
        """Augment the chosen images of a batch, or prepare that."""
        chosen_B = draft.stream("event").random((len(draft), 1))[:, 0] < self.options.prob
        slots_M = np.flatnonzero(chosen_B)
        originals = draft.images
        if self._base is not None:
            draft.images = originals.clone()
            draft.images[slots_M] = self._augmented(
                self._base, originals[slots_M], draft.stream("augment", slots_M)
            )
        if not self.needs_maps:
            # What is counted is known now; where, the process that trains will say.
            draft.originals = None if self._base is None else originals
            draft.events[slots_M] = Event.ERASE if self._base is None else Event.KEEP
            draft.erased[slots_M] = self.options.length**2 if self._base is None else 0
            return
        saliency_MHW = draft.saliency_field(slots_M).dense()
        boxes_M4 = self.regions(saliency_MHW, draft.stream("region", slots_M))
        if self._base is None:
            draft.erase(slots_M, boxes_M4)
            return
        put_back(draft.images, originals, slots_M, boxes_M4)
        draft.events[slots_M], draft.boxes[slots_M] = Event.KEEP, boxes_M4

    def regions(self, saliency: NDArray[np.floating[Any]], rng: Uniforms) -> NDArray[np.int64]:
        """Draw the square of each image that is cut, or put back.

        Args:
            saliency: (M, H, W) floating, at least 0; its scale is without meaning.
            rng: Gives uniform numbers, one a row.

        Returns:
            (M, 4) int64 rows (y0, x0, y1, x1), half open, inside the image.
        """
        length = self.options.length
        importance_MYX = region_importance(saliency, length)
        num, rows, columns = importance_MYX.shape
        place_M = draw_regions(
            importance_MYX.reshape(num, rows * columns),
            self.options.tau,
            rng,
            important=self.options.mode == "paste",
        )
        y_M, x_M = np.divmod(place_M, columns)
        return np.stack((y_M, x_M, y_M + length, x_M + length), axis=1)

    def _augmented(self, base: torch.nn.Module, images: Tensor, rng: KeyedStream) -> Tensor:
        """Return normalised images after the base augmentation, each seeded by its key."""
        mean, std = self._setting.mean, self._setting.std
        pixels = to_bytes(images, mean, std)
        seeds_M = (rng.random((len(images), 1))[:, 0] * SEED_RANGE).astype(np.int64)
        with torch.random.fork_rng(devices=[]):
            for row, seed in enumerate(seeds_M.tolist()):
                torch.manual_seed(seed)
                pixels[row] = base(pixels[row])
        return normalised(pixels, mean, std)


def _base_augmentation(name: str, size: int) -> torch.nn.Module:
    """Return torchvision's own: the map is read through the view from before it."""
    if name == "randaugment":
        return v2.RandAugment()
    kind = v2.AutoAugmentPolicy
    return v2.AutoAugment(kind.CIFAR10 if size <= SMALL_SIDE else kind.IMAGENET)


def region_importance(saliency: NDArray[np.floating[Any]], length: int) -> NDArray[np.int64]:
    """Return I(S), the sum of saliency, of every square region inside each image.

    Args:
        saliency: (B, H, W) floating, at least 0.
        length: Side L of the square, at most H and W.

    Returns:
        (B, H - L + 1, W - L + 1) int64, in units of the image's highest value / 65536.
    """
    num, height, width = saliency.shape
    top_B11 = saliency.max(axis=(1, 2), keepdims=True)
    levels_BHW = np.rint(saliency * (LEVELS / np.where(top_B11 > 0, top_B11, 1)))
    sums_BYX = np.zeros((num, height + 1, width + 1), np.int64)
    sums_BYX[:, 1:, 1:] = levels_BHW.astype(np.int64).cumsum(axis=1).cumsum(axis=2)
    return (
        sums_BYX[:, length:, length:]
        - sums_BYX[:, :-length, length:]
        - sums_BYX[:, length:, :-length]
        + sums_BYX[:, :-length, :-length]
    )


def draw_regions(
    importance: NDArray[np.int64], tau: float, rng: Uniforms, *, important: bool
) -> NDArray[np.int64]:
    """Draw one position an image, uniform among those below or above the tau-quantile.

    The law is that of drawing again until a region qualifies, without the loop: a flat map, on
    which none does, gives a uniform one of the best positions.

    Args:
        importance: (B, P) int64, I(S) of every position.
        tau: Quantile in [0, 1] over an image's positions.
        rng: Gives uniform numbers, one a row.
        important: True draws above the quantile, False below.

    Returns:
        (B,) int64 positions.
    """
    limit_B1 = np.quantile(importance, tau, axis=1, keepdims=True)
    best_B1 = importance.max(1, keepdims=True) if important else importance.min(1, keepdims=True)
    fits_BP = importance > limit_B1 if important else importance < limit_B1
    fits_BP |= ~fits_BP.any(axis=1, keepdims=True) & (importance == best_B1)
    rank_B = (rng.random((len(importance), 1))[:, 0] * fits_BP.sum(axis=1)).astype(np.int64)
    return (fits_BP.cumsum(axis=1) > rank_B[:, None]).argmax(axis=1)


def put_back(
    images: Tensor, originals: Tensor, slots: NDArray[np.int64], boxes: NDArray[np.int64]
) -> None:
    """Copy the boxes, (M, 4) int64, of (M,) slots from the originals into the images, in place."""
    for slot, (y0, x0, y1, x1) in zip(slots.tolist(), boxes.tolist(), strict=True):
        images[slot, :, y0:y1, x0:x1] = originals[slot, :, y0:y1, x0:x1]
