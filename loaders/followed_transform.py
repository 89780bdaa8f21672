"""Checking a user's torchvision pipeline: the view follows every step, or it is refused."""

from collections.abc import Collection, Sequence

from torch import nn
from torchvision.transforms import v2

from loaders.auto_augment import FOLLOWING, followed_augment
from loaders.errors import GeometryError, OptionError
from loaders.transform_lists import CONTAINERS, FOLLOWS, PHOTOMETRIC, REFUSED, REPLACED
from loaders.transforms import FollowedTransform
from loaders.vouched import ImageOnly, Vouched

MAX_DISTORTION = 0.6
"""Up to here RandomPerspective makes convex quadrilaterals; from 2/3 on it may fold the image."""


def build_transform(
    pipeline: nn.Module, *, size: int, trusted: Collection[type] = ()
) -> FollowedTransform:
    """Check a `torchvision.transforms.v2` pipeline and make it usable by `ScaeDataset`.

    Torchvision's RandAugment, AutoAugment and TrivialAugmentWide are replaced by
    `loaders.auto_augment`'s, which give the same images. The pipeline itself is not changed.

    Args:
        pipeline: From whole uint8 images to float images of size x size pixels.
        size: Side of the output in pixels.
        trusted: Classes, exactly these, that you vouch for: each leaves every pixel in its place.
            They are called with the image alone, and draw from torch's generator if they draw.

    Raises:
        GeometryError: If a step is neither known to be followed nor known to be photometric.
        OptionError: If the size is below 1, or `trusted` holds something that is no class.
    """
    if size < 1:
        raise OptionError(f"size must be at least 1, got {size}")
    for name in trusted:
        if not isinstance(name, type):
            raise OptionError(f"trusted must hold classes, got {name!r}: give its class")
    return FollowedTransform(_checked(pipeline, frozenset(trusted), "pipeline"), size)


def _checked(step: object, trusted: frozenset[type], place: str) -> nn.Module:
    """Return the step as the view can follow it; `place` says where it stands."""
    # Exactly the known classes: a subclass may do anything.
    kind = type(step)
    if kind in trusted:
        return Vouched(step, place)
    if kind in CONTAINERS and isinstance(step, nn.Module):
        return _checked_container(step, trusted, place)
    if isinstance(step, nn.Module):
        if kind in REPLACED:
            return ImageOnly(step)
        augment = followed_augment(step)
        if augment is not None:
            return augment
        if kind in FOLLOWS or kind in PHOTOMETRIC or kind in FOLLOWING:
            _check_distortion(step, place)
            return step
    raise GeometryError(_refusal(step, place))


def _checked_container(step: nn.Module, trusted: frozenset[type], place: str) -> nn.Module:
    children: Sequence[object] = step.transforms  # type: ignore[assignment]  # list or ModuleList
    name = type(step).__name__
    checked = [
        _checked(child, trusted, f"{place}, {name}[{number}]")
        for number, child in enumerate(children)
    ]
    if isinstance(step, v2.RandomApply | v2.RandomChoice):
        return type(step)(checked, p=step.p)
    return type(step)(checked)


def _check_distortion(step: nn.Module, place: str) -> None:
    if isinstance(step, v2.RandomPerspective) and step.distortion_scale > MAX_DISTORTION:
        raise GeometryError(
            f"distortion_scale of RandomPerspective ({place}) must be at most {MAX_DISTORTION}, "
            f"got {step.distortion_scale}: beyond, it may fold the image, and no view follows that"
        )


def _refusal(step: object, place: str) -> str:
    kind = type(step)
    named = f"transform {kind.__module__}.{kind.__name__} ({place}) can't be used with saliency"
    for cls, reason in REFUSED.items():
        if kind is cls:
            return f"{named}: {reason}"
    twin = getattr(v2, kind.__name__, None)
    if kind.__module__.startswith("torchvision.transforms.") and twin is not None:
        return f"{named}: take torchvision.transforms.v2.{kind.__name__} instead"
    follows = ", ".join(sorted(cls.__name__ for cls in (*FOLLOWS, *FOLLOWING)))
    return (
        f"{named}: where it moves pixels is not known; if it leaves each in its place, say so with "
        f"trusted=[{kind.__name__}]; geometry that is followed: {follows}"
    )
