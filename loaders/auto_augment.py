"""RandAugment, AutoAugment and TrivialAugmentWide whose geometry a saliency view follows.

Torchvision's own transform the image alone: they never call a kernel for what lies beside it. These
draw the same random numbers and give the same image, and repeat each geometric operation on every
view of the sample. AugMix can't be followed: it adds up several differently moved images.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from torchvision.transforms import v2

from loaders.errors import GeometryError
from loaders.view import View

MOVING = frozenset({"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"})
"""Operations that move pixels."""

STILL = frozenset(
    {
        "AutoContrast",
        "Brightness",
        "Color",
        "Contrast",
        "Equalize",
        "Identity",
        "Invert",
        "Posterize",
        "Sharpness",
        "Solarize",
    }
)
"""Operations that leave every pixel in its place."""

_HOOK = "_apply_image_or_video_transform"
"""Torchvision's method for one operation. It is private, so it is checked that it is there."""

_views: ContextVar[list[View]] = ContextVar("views of the sample that is being augmented")


class _Followed(nn.Module):
    """Stands before a torchvision class: moves the views beside the image."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:  # noqa: ANN401  # torchvision's
        super().__init__(*arguments, **keywords)
        if not callable(getattr(super(), _HOOK, None)):
            raise GeometryError(
                f"{type(self).__name__} of this torchvision must apply operations by {_HOOK}, got "
                "none: no view can follow it; take another version of torchvision"
            )

    def forward(self, *inputs: Any) -> Any:  # noqa: ANN401  # any nesting, as torchvision takes it
        leaves, _ = tree_flatten(inputs)
        with _following([leaf for leaf in leaves if isinstance(leaf, View)]) as moved:
            output_leaves, tree = tree_flatten(super().forward(*inputs))
        views = iter(moved)
        return tree_unflatten(
            [next(views) if isinstance(leaf, View) else leaf for leaf in output_leaves], tree
        )

    def _apply_image_or_video_transform(
        self,
        image: Any,  # noqa: ANN401  # a Pillow image or a tensor
        transform_id: str,
        *arguments: Any,  # noqa: ANN401  # magnitude, interpolation, fill
        **keywords: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        apply: Callable[..., Any] = super()._apply_image_or_video_transform  # type: ignore[misc]
        if transform_id in MOVING:
            views = _views.get()
            views[:] = [apply(view, transform_id, *arguments, **keywords) for view in views]
        elif transform_id not in STILL:
            raise GeometryError(
                f"operation of {type(self).__name__} must be one of "
                f"{', '.join(sorted(MOVING | STILL))}, got {transform_id}: whether it moves "
                "pixels is not known"
            )
        return apply(image, transform_id, *arguments, **keywords)


@contextmanager
def _following(views: list[View]) -> Iterator[list[View]]:
    token = _views.set(views)
    try:
        yield views
    finally:
        _views.reset(token)


class RandAugment(_Followed, v2.RandAugment):
    """`v2.RandAugment` (Cubuk et al., 2020) beside views; same arguments, same images."""


class AutoAugment(_Followed, v2.AutoAugment):
    """`v2.AutoAugment` (Cubuk et al., 2019) beside views; same arguments, same images."""


class TrivialAugmentWide(_Followed, v2.TrivialAugmentWide):
    """`v2.TrivialAugmentWide` (Müller, Hutter, 2021) beside views; same arguments, same images."""


_ARGUMENTS: dict[type[nn.Module], tuple[type[nn.Module], tuple[str, ...]]] = {
    v2.RandAugment: (
        RandAugment,
        ("num_ops", "magnitude", "num_magnitude_bins", "interpolation", "fill"),
    ),
    v2.AutoAugment: (AutoAugment, ("policy", "interpolation", "fill")),
    v2.TrivialAugmentWide: (TrivialAugmentWide, ("num_magnitude_bins", "interpolation", "fill")),
}

FOLLOWING = (RandAugment, AutoAugment, TrivialAugmentWide)
"""The classes of this file."""


def followed_augment(step: nn.Module) -> nn.Module | None:
    """Return our counterpart of a stock AutoAugment-like transform, None for anything else."""
    if type(step) not in _ARGUMENTS:
        return None
    ours, names = _ARGUMENTS[type(step)]
    return ours(**{name: getattr(step, name) for name in names})
