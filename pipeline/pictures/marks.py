"""Drawing helpers: heat over a photograph, rectangles and centres, figures as bytes.

Figures are `matplotlib.figure.Figure` objects on the Agg backend: no global state, no display.

Legend: H, W pixels of an image, M rectangles of one image.
"""

import base64
import io
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.colors import to_hex
from matplotlib.font_manager import findfont, get_font
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke
from numpy.typing import ArrayLike, NDArray
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAT = "turbo"
"""Colour map of saliency."""

RATIOS = "RdBu_r"
"""Colour map of densities: blue below uniform, white uniform, red above."""

BOX_COLOURS = (
    "#ffffff", "#ffd92f", "#ff6b6b", "#4dd2ff", "#7ee081", "#ff9d3c", "#e78aff", "#a0a8ff",
)  # fmt: skip
"""Colours of rectangles, light enough for a dark rim."""

FONT = "DejaVu Sans"
"""Comes with matplotlib, so a picture looks the same everywhere."""

SMALL = 96
"""Images of this side or less are shown with hard pixels."""

LUMA = np.array([0.299, 0.587, 0.114])
"""Shares of red, green and blue in brightness (ITU-R BT.601)."""

FADED = 0.35
"""Share of its colour that a photograph keeps under the heat."""

HIDDEN = "\N{REPLACEMENT CHARACTER}"
"""Stands for a character that the font can't draw."""


def heat_rgba(saliency: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return saliency as a layer to put over an image.

    Args:
        saliency: (H, W) floating in [0, 1].

    Returns:
        (H, W, 4) uint8 RGBA; what is not salient is nearly transparent.
    """
    layer_HW4 = colormaps[HEAT](saliency)
    layer_HW4[..., 3] = 0.15 + 0.5 * np.asarray(saliency) ** 0.75
    return np.rint(layer_HW4 * 255).astype(np.uint8)


def ratio_rgb(density: NDArray[np.float64], limit: float) -> NDArray[np.uint8]:
    """Return a density in colours: white where it is uniform, on a logarithmic scale.

    Args:
        density: (H, W) float64, multiples of the uniform density.
        limit: Above 1; `limit` and beyond is darkest red, 1 / `limit` and below darkest blue.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    with np.errstate(divide="ignore"):  # a density may be too small for a number
        shares_HW = 0.5 + 0.5 * np.log(density) / np.log(limit)
    return np.rint(colormaps[RATIOS](np.clip(shares_HW, 0, 1))[..., :3] * 255).astype(np.uint8)


def colour_stops(name: str, num: int = 13) -> list[str]:
    """Return colours of a colour map from its low end to its high end, as `#rrggbb`."""
    return [to_hex(colour) for colour in colormaps[name](np.linspace(0, 1, num))]


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image without its colours, so that marks have theirs alone: (H, W, 3) uint8."""
    return np.repeat(np.rint(image @ LUMA).astype(np.uint8)[..., None], 3, axis=2)


def faded(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image whose own colours do not compete with the heat's: (H, W, 3) uint8."""
    grey_HW1 = (image @ LUMA)[..., None]
    return np.rint(FADED * image + (1 - FADED) * grey_HW1).astype(np.uint8)


def overlay(image: NDArray[np.uint8], saliency: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return an image under its saliency.

    Args:
        image: (H, W, 3) uint8 RGB.
        saliency: (H, W) floating in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB.
    """
    layer_HW4 = heat_rgba(saliency)
    alpha_HW1 = layer_HW4[..., 3:] / 255
    mixed_HW3 = (1 - alpha_HW1) * faded(image) + alpha_HW1 * layer_HW4[..., :3]
    return np.rint(mixed_HW3).astype(np.uint8)


def draw_boxes(
    axes: "Axes",
    boxes: NDArray[np.int64],
    centres: NDArray[np.int64],
    *,
    origin: tuple[float, float],
    scale: float,
) -> None:
    """Draw outlines and centres of rectangles over an image that lies in axes.

    Rectangle m has the same colour wherever it is drawn; a dark rim keeps it visible.

    Args:
        axes: Where the image lies.
        boxes: (M, 4) int64 rows (y0, x0, y1, x1), half open.
        centres: (M, 2) int64 rows (y, x).
        origin: x and y of the image's upper left corner in the axes' units.
        scale: Units of the axes that a pixel of the image takes.
    """
    colours = [BOX_COLOURS[number % len(BOX_COLOURS)] for number in range(len(boxes))]
    rim: list[AbstractPathEffect] = [withStroke(linewidth=2.88, foreground="black")]
    left, top = origin
    for (y0, x0, y1, x1), colour in zip(boxes.tolist(), colours, strict=True):
        corner, width, height = (left + scale * x0, top + scale * y0), x1 - x0, y1 - y0
        outline = Rectangle(corner, scale * width, scale * height, fill=False, edgecolor=colour,
                            linewidth=1.44, snap=True, path_effects=rim)  # fmt: skip
        axes.add_patch(outline)
    axes.scatter(
        left + scale * (centres[:, 1] + 0.5),
        top + scale * (centres[:, 0] + 0.5),
        s=26,
        c=colours,
        edgecolors="black",
        linewidths=0.9,
        zorder=4,
    )


def legible(text: str, limit: int = 10_000) -> str:
    """Return text that the font can draw, cut to `limit` characters."""
    known = _characters()
    drawn = "".join(letter if ord(letter) in known else HIDDEN for letter in text)
    return drawn if len(drawn) <= limit else f"{drawn[: limit - 1]}…"


@cache
def _characters() -> frozenset[int]:
    return frozenset(get_font(findfont(FONT)).get_charmap())


def figure_png(figure: "Figure") -> bytes:
    """Return a figure as a PNG file without transparency, one pixel a dot."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="rgba", dpi=figure.dpi)
    width, height = figure.canvas.get_width_height()
    return image_png(np.frombuffer(buffer.getbuffer(), np.uint8).reshape(height, width, 4)[..., :3])


def figure_svg(figure: "Figure", *, letters: Literal["path", "none"] = "path") -> bytes:
    """Return a figure as an SVG file; equal figures give equal bytes.

    Args:
        figure: What to write.
        letters: "path" draws each letter, so that a picture looks the same everywhere; "none"
            leaves text to the reader's own fonts, which takes a tenth of the space.
    """
    buffer = io.BytesIO()
    # Without a salt the ids inside are random; without metadata there is no date.
    with rc_context({"svg.hashsalt": "scae", "svg.fonttype": letters}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def image_png(image: ArrayLike) -> bytes:
    """Return (H, W, 3) RGB or (H, W, 4) RGBA uint8 pixels as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image, np.uint8)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def image_uri(image: NDArray[np.uint8]) -> str:
    """Return (H, W, 3) uint8 pixels as an address: to the bit if small, a photograph as JPEG."""
    if len(image) <= SMALL:
        return data_uri(image_png(image), "png")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=90, subsampling=0, optimize=True)
    return data_uri(buffer.getvalue(), "jpeg")


def data_uri(content: bytes, kind: str) -> str:
    """Return a file as an address that holds it; `kind` is 'png', 'jpeg' or 'svg+xml'."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
