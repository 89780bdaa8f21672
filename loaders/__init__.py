"""Data sets, views and the loader that erases by saliency maps."""

from typing import TYPE_CHECKING

from cache_store.lazy import lazy_exports

if TYPE_CHECKING:
    from loaders.auto_augment import AutoAugment, RandAugment, TrivialAugmentWide
    from loaders.build import build_loader
    from loaders.centres import sample_centres
    from loaders.erasing import erase_rectangles
    from loaders.followed_transform import build_transform
    from loaders.image_data import ImageData
    from loaders.long_tail import long_tail_counts
    from loaders.named_data import open_data
    from loaders.policy import ScaePolicy
    from loaders.scae_dataset import ScaeDataset
    from loaders.view import View

__all__ = [
    "AutoAugment",
    "ImageData",
    "RandAugment",
    "ScaeDataset",
    "ScaePolicy",
    "TrivialAugmentWide",
    "View",
    "build_loader",
    "build_transform",
    "erase_rectangles",
    "long_tail_counts",
    "open_data",
    "sample_centres",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "AutoAugment": "loaders.auto_augment",
        "ImageData": "loaders.image_data",
        "RandAugment": "loaders.auto_augment",
        "ScaeDataset": "loaders.scae_dataset",
        "ScaePolicy": "loaders.policy",
        "TrivialAugmentWide": "loaders.auto_augment",
        "View": "loaders.view",
        "build_loader": "loaders.build",
        "build_transform": "loaders.followed_transform",
        "erase_rectangles": "loaders.erasing",
        "long_tail_counts": "loaders.long_tail",
        "open_data": "loaders.named_data",
        "sample_centres": "loaders.centres",
    },
)
