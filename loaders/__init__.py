"""Data sets, views and the loader that erases by saliency maps."""

from typing import TYPE_CHECKING

from cache_store.lazy import lazy_exports

if TYPE_CHECKING:
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
    "ImageData",
    "ScaeDataset",
    "ScaePolicy",
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
        "ImageData": "loaders.image_data",
        "ScaeDataset": "loaders.scae_dataset",
        "ScaePolicy": "loaders.policy",
        "View": "loaders.view",
        "build_loader": "loaders.build",
        "build_transform": "loaders.followed_transform",
        "erase_rectangles": "loaders.erasing",
        "long_tail_counts": "loaders.long_tail",
        "open_data": "loaders.named_data",
        "sample_centres": "loaders.centres",
    },
)
