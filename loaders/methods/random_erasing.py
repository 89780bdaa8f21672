"""Random Erasing (Zhong et al., 2020): one random rectangle a chosen image.

Legend: B samples, E samples to be erased, T tries, H, W sides of an image.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loaders.checks import check_fill, check_range, check_share, check_word
from loaders.erasing import centred_boxes, sample_sides, try_sides
from loaders.methods.draft import Draft
from loaders.methods.method import Method, MethodOptions, Setting
from loaders.randomness import KeyedStream, Uniforms

__all__ = ["RandomErasing"]


class _Law(NamedTuple):
    area: tuple[float, float]
    aspect: tuple[float, float]
    aspect_law: Literal["uniform", "log"]
    tries: int


LAWS = {
    "official": _Law((0.02, 0.4), (0.3, 1 / 0.3), "uniform", 100),
    "torchvision": _Law((0.02, 0.33), (0.3, 3.3), "log", 10),
    "scae": _Law((0.02, 0.4), (0.3, 1 / 0.3), "uniform", 10),
}
"""By name: zhunzhong07/Random-Erasing, torchvision's defaults, and SCAE's with uniform centres."""

TRIES_AT_ONCE = 10
"""Pairs of sides drawn together; more are drawn for the few batches where one row needs them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomErasing(Method, MethodOptions):
    """With probability `prob` erase a rectangle of random area, aspect ratio and place.

    Raises:
        OptionError: If an option is outside its range.
    """

    name: ClassVar[str] = "random_erasing"

    prob: float = 0.5
    """Probability of an image to be erased, in [0, 1]."""

    law: Literal["official", "torchvision", "scae"] = "official"
    """How sides and place are drawn. official and torchvision: pairs that do not fit are drawn
    again, the rectangle lies inside, an image without a fitting pair stays as it is. scae: uniform
    centre, cut at the border."""

    area: tuple[float, float] | None = None
    """Erased share of the image, within (0, 1]; None: the law's."""

    aspect: tuple[float, float] | None = None
    """Height over width, above 0; None: the law's."""

    fill: float | tuple[float, ...] | Literal["random"] = 0.0
    """Erased pixels after normalisation: one value, one a channel, or standard normal noise."""

    def __post_init__(self) -> None:
        check_share("prob", self.prob)
        check_word("law", self.law, tuple(LAWS))
        if self.area is not None:
            check_range("area", self.area, limit=1.0)
        if self.aspect is not None:
            check_range("aspect", self.aspect)
        if isinstance(self.fill, str):
            check_word("fill", self.fill, ("random",))
        else:
            check_fill(self.fill)

    def build(self, setting: Setting) -> "RandomErasing":
        """Return the method for a run: itself."""
        return self

    def apply(self, draft: Draft) -> None:
        """Erase the chosen images of a batch."""
        chosen_B = draft.stream("event").random((len(draft), 1))[:, 0] < self.prob
        slots_E = np.flatnonzero(chosen_B)
        boxes_E4, found_E = self.boxes(
            draft.size, draft.stream("sides", slots_E), draft.stream("centre", slots_E)
        )
        slots_E, boxes_E4 = slots_E[found_E], boxes_E4[found_E]
        if isinstance(self.fill, str):
            draft.erase(slots_E, boxes_E4)
            _fill_noise(draft.images, slots_E, boxes_E4, draft.stream("noise", slots_E))
        else:
            draft.erase(slots_E, boxes_E4, self.fill)

    def boxes(
        self, size: tuple[int, int], sides: KeyedStream, places: KeyedStream
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Draw rectangles by the law.

        Args:
            size: (H, W) of the images.
            sides: E streams that give the sides.
            places: E streams that give the places.

        Returns:
            (E, 4) int64 rows (y0, x0, y1, x1), half open, and (E,) bool: whether one was found.
        """
        law = LAWS[self.law]
        if self.area is not None:
            law = law._replace(area=self.area)
        if self.aspect is not None:
            law = law._replace(aspect=self.aspect)
        num = len(sides)
        places_E2 = places.random((num, 2))
        if self.law == "scae":
            heights_E, widths_E = sample_sides(num, size, sides, **law._asdict())
            centres_E2 = (places_E2 * size).astype(np.int64)
            return centred_boxes(centres_E2, heights_E, widths_E, size), np.ones(num, np.bool_)
        sides_E2, found_E = _fitting_sides(num, size, sides, law)
        starts_E2 = (places_E2 * (np.array(size) - sides_E2 + 1)).astype(np.int64)
        return np.concatenate((starts_E2, starts_E2 + sides_E2), axis=1), found_E


def _fitting_sides(
    num: int, size: tuple[int, int], rng: Uniforms, law: _Law
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return (E, 2) int64 heights and widths, and (E,) bool: whether any try fitted."""
    sides_E2 = np.zeros((num, 2), np.int64)
    found_E = np.zeros(num, np.bool_)
    for begun in range(0, law.tries, TRIES_AT_ONCE):
        if found_E.all():
            break
        part = law._replace(tries=min(TRIES_AT_ONCE, law.tries - begun))
        heights_ET, widths_ET, fits_ET = try_sides(num, size, rng, **part._asdict())
        new_Q = np.flatnonzero(~found_E & fits_ET.any(axis=1))
        first_Q = fits_ET[new_Q].argmax(axis=1)
        sides_E2[new_Q, 0], sides_E2[new_Q, 1] = (
            heights_ET[new_Q, first_Q],
            widths_ET[new_Q, first_Q],
        )
        found_E[new_Q] = True
    return sides_E2, found_E


def _fill_noise(
    images: Tensor, slots_E: NDArray[np.int64], boxes_E4: NDArray[np.int64], rng: KeyedStream
) -> None:
    """Write N(0, 1) values into each rectangle: a generator a sample, seeded by its key."""
    channels = images.shape[1]
    seeds_E = (rng.random((len(slots_E), 1))[:, 0] * 2.0**53).astype(np.int64)
    for slot, (y0, x0, y1, x1), seed in zip(slots_E, boxes_E4, seeds_E.tolist(), strict=True):
        noise = np.random.Generator(np.random.Philox(seed))
        values = noise.standard_normal((channels, y1 - y0, x1 - x0), np.float32)
        images[slot, :, y0:y1, x0:x1] = torch.from_numpy(values)
