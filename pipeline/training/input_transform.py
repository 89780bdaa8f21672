"""From whole images to the network's input, as a recipe wants it."""

from collections.abc import Callable

import torch
from torchvision.transforms import v2

from loaders.auto_augment import AutoAugment, RandAugment, TrivialAugmentWide
from loaders.followed_transform import build_transform
from loaders.geometry import CropFlip, ResizedCropFlip
from loaders.transforms import StandardTransform, Transform
from pipeline.saliency.networks import BuiltNetwork
from pipeline.training.recipe import DataRecipe

__all__ = ["SMALL_SIDE", "input_transform"]

SMALL_SIDE = 64
"""Up to this many pixels a side, images are padded and cropped, and kept in memory."""


def input_transform(data: DataRecipe, built: BuiltNetwork, size: int) -> Transform:
    """Return crop, flip, the recipe's automatic augmentation, and normalising.

    Args:
        data: Says how images are cut and what is done to them then.
        built: Says how images are normalised.
        size: Side of the network's input in pixels.
    """
    padded = data.crop == "pad" or (data.crop == "auto" and size <= SMALL_SIDE)
    if data.auto_augment == "none":
        geometry = CropFlip(size) if padded else ResizedCropFlip(size)
        return StandardTransform(geometry=geometry, mean=built.mean, std=built.std)
    policy = v2.AutoAugmentPolicy.CIFAR10 if size <= SMALL_SIDE else v2.AutoAugmentPolicy.IMAGENET
    steps: dict[str, Callable[[], torch.nn.Module]] = {
        "randaugment": RandAugment,
        "autoaugment": lambda: AutoAugment(policy),
        "trivialaugment": TrivialAugmentWide,
    }
    cut = v2.RandomCrop(size, padding=4) if padded else v2.RandomResizedCrop(size, antialias=True)
    pipeline = v2.Compose(
        [
            cut,
            v2.RandomHorizontalFlip(),
            steps[data.auto_augment](),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(built.mean, built.std),
        ]
    )
    return build_transform(pipeline, size=size)
