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
from matplotlib.font_manager import findfont, get_font
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke
from numpy.typing import ArrayLike, NDArray
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAT = "turbo"
"""Colour map of saliency and of densities."""

BOX_COLOURS = (
    "#ffffff", "#ffd92f", "#ff6b6b", "#4dd2ff", "#7ee081", "#ff9d3c", "#e78aff", "#a0a8ff",
)  # fmt: skip
"""Colours of rectangles, light enough for a dark rim."""

FONT = "DejaVu Sans"
"""Comes with matplotlib, so a picture looks the same everywhere."""

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


def faded(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image whose own colours do not compete with the heat's: (H, W, 3) uint8."""
    grey_HW1 = image @ np.array([[0.299], [0.587], [0.114]])
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


def draw_boxes(axes: "Axes", boxes: NDArray[np.int64], centres: NDArray[np.int64]) -> None:
    """Draw outlines and centres of rectangles into axes whose data units are pixels.

    Rectangle m has the same colour wherever it is drawn; a dark rim keeps it visible.

    Args:
        axes: Pixel (y, x) covers [x, x + 1) by [y, y + 1).
        boxes: (M, 4) int64 rows (y0, x0, y1, x1), half open.
        centres: (M, 2) int64 rows (y, x).
    """
    colours = [BOX_COLOURS[number % len(BOX_COLOURS)] for number in range(len(boxes))]
    rim: list[AbstractPathEffect] = [withStroke(linewidth=3.2, foreground="black", alpha=0.6)]
    for (y0, x0, y1, x1), colour in zip(boxes.tolist(), colours, strict=True):
        outline = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.4)
        outline.set_path_effects(rim)
        axes.add_patch(outline)
    axes.scatter(
        centres[:, 1] + 0.5,
        centres[:, 0] + 0.5,
        s=34,
        c=colours,
        edgecolors="black",
        linewidths=1.0,
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
    """Return a figure as a PNG file, one pixel a dot."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi)
    return buffer.getvalue()


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


def data_uri(content: bytes, kind: str) -> str:
    """Return a file as an address that holds it; `kind` is 'png' or 'svg+xml'."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
