"""Augmentations of a batch by name: SCAE and what it is compared with."""

from typing import TYPE_CHECKING

from cache_store.lazy import lazy_exports

if TYPE_CHECKING:
    from loaders.methods.cut_mix import CutMix
    from loaders.methods.cutout import Cutout
    from loaders.methods.grid_mask import GridMask
    from loaders.methods.keep_augment import KeepAugmentOptions
    from loaders.methods.method import Method, MethodOptions, Setting
    from loaders.methods.mix_up import MixUp
    from loaders.methods.random_erasing import RandomErasing
    from loaders.methods.registry import METHODS
    from loaders.methods.saliency_mix import SaliencyMixOptions
    from loaders.methods.scae import Scae, ScaeOptions

__all__ = [
    "METHODS",
    "CutMix",
    "Cutout",
    "GridMask",
    "KeepAugmentOptions",
    "Method",
    "MethodOptions",
    "MixUp",
    "RandomErasing",
    "SaliencyMixOptions",
    "Scae",
    "ScaeOptions",
    "Setting",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "METHODS": "loaders.methods.registry",
        "CutMix": "loaders.methods.cut_mix",
        "Cutout": "loaders.methods.cutout",
        "GridMask": "loaders.methods.grid_mask",
        "KeepAugmentOptions": "loaders.methods.keep_augment",
        "Method": "loaders.methods.method",
        "MethodOptions": "loaders.methods.method",
        "MixUp": "loaders.methods.mix_up",
        "RandomErasing": "loaders.methods.random_erasing",
        "SaliencyMixOptions": "loaders.methods.saliency_mix",
        "Scae": "loaders.methods.scae",
        "ScaeOptions": "loaders.methods.scae",
        "Setting": "loaders.methods.method",
    },
)
