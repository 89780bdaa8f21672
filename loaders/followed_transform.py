"""Checking a user's torchvision pipeline: the view follows every step, or it is refused."""

from collections.abc import Iterable, Iterator

from torch import nn
from torchvision.transforms import v2

from loaders.errors import GeometryError
from loaders.transforms import FollowedTransform

CONTAINERS = (v2.Compose, v2.RandomApply, v2.RandomChoice, v2.RandomOrder)
"""Transforms that hold others."""

FOLLOWS = (
    v2.CenterCrop,
    v2.Pad,
    v2.RandomCrop,
    v2.RandomHorizontalFlip,
    v2.RandomResizedCrop,
    v2.RandomVerticalFlip,
    v2.Resize,
)
"""Geometry that the view follows."""

PHOTOMETRIC = (
    v2.ColorJitter,
    v2.GaussianBlur,
    v2.GaussianNoise,
    v2.Grayscale,
    v2.Identity,
    v2.Normalize,
    v2.PILToTensor,
    v2.RandomAdjustSharpness,
    v2.RandomAutocontrast,
    v2.RandomEqualize,
    v2.RandomGrayscale,
    v2.RandomInvert,
    v2.RandomPhotometricDistort,
    v2.RandomPosterize,
    v2.RandomSolarize,
    v2.RGB,
    v2.ToDtype,
    v2.ToImage,
)
"""Transforms that leave every pixel in its place."""


def build_transform(pipeline: nn.Module, *, size: int) -> FollowedTransform:
    """Check a `torchvision.transforms.v2` pipeline and make it usable by `ScaeDataset`.

    Args:
        pipeline: From whole uint8 images to float images of size x size pixels.
        size: Side of the output in pixels.

    Raises:
        GeometryError: If a step is neither known to be followed nor known to be photometric.
    """
    for step in _steps(pipeline):
        # Exactly these classes: a subclass may do anything.
        if type(step) not in FOLLOWS + PHOTOMETRIC:
            known = ", ".join(sorted(cls.__name__ for cls in FOLLOWS))
            raise GeometryError(
                f"transform {type(step).__module__}.{type(step).__name__} can't be used with "
                f"saliency: where it moves pixels is not known; geometry that is followed: {known}"
            )
    return FollowedTransform(pipeline, size)


def _steps(step: nn.Module) -> Iterator[nn.Module]:
    if type(step) not in CONTAINERS:
        yield step
        return
    children: Iterable[nn.Module] = step.transforms  # type: ignore[assignment]  # list or ModuleList
    for child in children:
        yield from _steps(child)
