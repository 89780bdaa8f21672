"""What each torchvision v2 functional does to a view.

`loaders.view` registers these as it is imported, so there is no view without its kernels: a
functional that has none would pass a view through unchanged, without a word.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torchvision.transforms.v2 import functional

from loaders.errors import GeometryError
from loaders.view_steps import affine_step, perspective_step, rotation_step

if TYPE_CHECKING:
    from loaders.view import View


def resized_size(
    canvas: tuple[int, int], size: Sequence[int] | int | None, max_size: int | None = None
) -> tuple[int, int]:
    """Return the (H, W) that `v2.functional.resize` makes of a canvas of (H, W).

    Args:
        canvas: (H, W) before.
        size: (H, W), or the shorter side alone (the aspect ratio is kept), or None to make the
            longer side `max_size`.
        max_size: Upper limit of the longer side where `size` gives the shorter one.

    Raises:
        GeometryError: If `size` and `max_size` are both missing.
    """
    if not isinstance(size, int | None) and len(size) == 2:
        return int(size[0]), int(size[1])
    height, width = canvas
    short, long = min(canvas), max(canvas)
    if size is None:
        if max_size is None:
            raise GeometryError("resize needs size or max_size, got None for both")
        new_short, new_long = int(max_size * short / long), max_size
    else:
        new_short = int(size if isinstance(size, int) else size[0])
        new_long = int(new_short * long / short)
        if max_size is not None and new_long > max_size:
            new_short, new_long = int(max_size * new_short / new_long), max_size
    return (new_long, new_short) if width <= height else (new_short, new_long)


def _pair(size: Sequence[int] | int) -> tuple[int, int]:
    values = (size,) if isinstance(size, int) else tuple(size)
    return values[0], values[-1]


def _crop(view: "View", top: int, left: int, height: int, width: int, **_: object) -> "View":
    return view.cropped(top, left, height, width)


def _center_crop(view: "View", output_size: Sequence[int] | int, **_: object) -> "View":
    height, width = _pair(output_size)
    top, left = (
        # torchvision pads the smaller half first and rounds the offset of a cut half to even.
        -((new - old) // 2) if new > old else round((old - new) / 2)
        for new, old in zip((height, width), view.size, strict=True)
    )
    return view.cropped(top, left, height, width)


def _resize(
    view: "View", size: Sequence[int] | int | None, max_size: int | None = None, **_: object
) -> "View":
    # The second position of the functional is the interpolation, which moves no pixel centre.
    return view.resized(size, max_size)


def _resized_crop(
    view: "View",
    top: int,
    left: int,
    height: int,
    width: int,
    size: Sequence[int] | int,
    **_: object,
) -> "View":
    return view.cropped(top, left, height, width).resized(size)


def _pad(view: "View", padding: Sequence[int] | int, **_: object) -> "View":
    values = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(values) not in (1, 2, 4):
        raise GeometryError(f"padding must be 1, 2 or 4 numbers, got {padding}")
    left, top, right, bottom = (values * 4)[:4]
    return view.padded(left, top, right, bottom)


def _horizontal_flip(view: "View", **_: object) -> "View":
    return view.flipped(horizontal=True)


def _vertical_flip(view: "View", **_: object) -> "View":
    return view.flipped(horizontal=False)


def _rotate(
    view: "View",
    *,
    angle: float,
    expand: bool = False,
    center: Sequence[float] | None = None,
    **_: object,
) -> "View":
    step, size = rotation_step(view.size, angle, center, expand=expand)
    return view.moved(step, size, frames=True)


def _affine(
    view: "View",
    *,
    angle: float,
    translate: Sequence[float],
    scale: float,
    shear: float | Sequence[float],
    center: Sequence[float] | None = None,
    **_: object,
) -> "View":
    step = affine_step(view.size, angle, translate, scale, shear, center)
    return view.moved(step, view.size, frames=True)


def _perspective(
    view: "View",
    *,
    startpoints: Sequence[Sequence[float]] | None = None,
    endpoints: Sequence[Sequence[float]] | None = None,
    coefficients: Sequence[float] | None = None,
    **_: object,
) -> "View":
    step = perspective_step(view.size, startpoints, endpoints, coefficients)
    return view.moved(step, view.size, frames=True)


def _get_size(view: "View", **_: object) -> list[int]:
    return list(view.size)


FOLLOWED: dict[str, Callable[..., Any]] = {
    "crop": _crop,
    "center_crop": _center_crop,
    "resized_crop": _resized_crop,
    "resize": _resize,
    "pad": _pad,
    "horizontal_flip": _horizontal_flip,
    "vertical_flip": _vertical_flip,
    "rotate": _rotate,
    "affine": _affine,
    "perspective": _perspective,
}
"""Functionals of `torchvision.transforms.v2.functional` that a view follows."""


def refused() -> tuple[str, ...]:
    """Return the functionals that move pixels and that no view follows, of this torchvision.

    They are found, not listed, so that one which a later torchvision adds raises too.
    """
    names = []
    for name in dir(functional):
        module = getattr(getattr(functional, name), "__module__", None) or ""
        moves = module.endswith("functional._geometry") and hasattr(functional, f"{name}_image")
        # hflip and vflip are second names of the flips.
        if moves and name not in (*FOLLOWED, "hflip", "vflip"):
            names.append(name)
    return tuple(names)


def _refuse(name: str) -> Callable[..., Any]:
    def kernel(view: "View", *_: object, **__: object) -> "View":
        raise GeometryError(
            f"functional on a saliency view must be one of {', '.join(FOLLOWED)}, got {name} "
            f"on {view.size}; take the transform that calls it out of the pipeline"
        )

    return kernel


def register_kernels(view_type: type["View"]) -> None:
    """Teach torchvision what its geometric functionals do to `view_type`."""
    kernels = {**FOLLOWED, **{name: _refuse(name) for name in refused()}, "get_size": _get_size}
    for name, kernel in kernels.items():
        functional.register_kernel(name, view_type)(kernel)
