"""The methods by name."""

from dataclasses import dataclass
from typing import ClassVar

from loaders.methods.cut_mix import CutMix
from loaders.methods.cutout import Cutout
from loaders.methods.grid_mask import GridMask
from loaders.methods.keep_augment import KeepAugmentOptions
from loaders.methods.method import MethodOptions, Setting
from loaders.methods.mix_up import MixUp
from loaders.methods.random_erasing import RandomErasing
from loaders.methods.saliency_mix import SaliencyMixOptions
from loaders.methods.scae import ScaeOptions

__all__ = ["METHODS", "NoMethod"]


@dataclass(frozen=True, kw_only=True, slots=True)
class NoMethod(MethodOptions):
    """Leaves images as the transform makes them."""

    name: ClassVar[str] = "none"

    def build(self, setting: Setting) -> None:
        """Return None."""


_ALL: tuple[type[MethodOptions], ...] = (
    NoMethod,
    ScaeOptions,
    RandomErasing,
    Cutout,
    GridMask,
    MixUp,
    CutMix,
    SaliencyMixOptions,
    KeepAugmentOptions,
)

METHODS: dict[str, type[MethodOptions]] = {options.name: options for options in _ALL}
"""Options of every method by the name that recipes use; each is a frozen dataclass."""
