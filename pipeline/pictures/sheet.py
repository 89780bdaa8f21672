"""A picture that is laid out to the dot.

Legend: S side of an image in pixels, W dots.
"""

import textwrap

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from pipeline.pictures.chart import style
from pipeline.pictures.marks import FONT, legible

DPI = 100
"""Dots an inch; only the ratio to font sizes matters."""
SIZE = 8
"""The usual size of letters in points."""
INK, GREY = "#1a1a1a", "#666666"
LETTER = 6.8
"""Dots of a letter of the usual size, on average."""


class Sheet:
    """A picture that is addressed in dots from its upper left corner.

    Pictures are laid down first, in numbers; one pair of axes, whose units are dots, then shows
    them all with texts and marks over them.

    Args:
        width: Dots from left to right.
        height: Dots from top to bottom.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._ground = np.full((height, width, 3), 255, np.uint8)
        self._figure = Figure((width / DPI, height / DPI), dpi=DPI)
        FigureCanvasAgg(self._figure)
        self.axes = self._figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        self.axes.set_axis_off()

    def figure(self) -> Figure:
        """Return what has been drawn so far."""
        extent = (0, self.width, self.height, 0)
        self.axes.imshow(self._ground, interpolation="nearest", extent=extent, aspect="auto")
        return self._figure

    def text(self, left: float, top: float, text: str, **look: object) -> None:
        """Write one line whose letters stand at `top`, in the usual size unless `look` says."""
        look = {"va": "baseline", "color": INK, "family": FONT, "fontsize": SIZE, **look}
        self.axes.text(left, top, legible(text), parse_math=False, **look)  # type: ignore[arg-type]  # its own words

    def picture(self, left: int, top: int, side: int, pixels: NDArray[np.uint8]) -> None:
        """Lay (S, S, 3) uint8 pixels into a square; hard ones if `side` is a multiple of S."""
        scale, rest = divmod(side, len(pixels))
        if rest:
            drawn = np.asarray(Image.fromarray(pixels).resize((side, side), Resampling.LANCZOS))
        else:
            drawn = pixels.repeat(scale, axis=0).repeat(scale, axis=1)
        self._ground[top : top + side, left : left + side] = drawn

    def chart(self, left: int, top: int, width: int, height: int) -> Axes:
        """Return axes of their own, whose frame lies in that rectangle."""
        bottom = 1 - (top + height) / self.height
        place = (left / self.width, bottom, width / self.width, height / self.height)
        axes = self._figure.add_axes(place)
        style(axes)
        return axes

    def badge(self, left: float, top: float, text: str) -> None:
        """Write around a point what a picture there can't show."""
        frame = {"facecolor": "#222222", "edgecolor": "none", "pad": 3}
        self.text(left, top, text, ha="center", va="center", color="white", bbox=frame)

    def scale(self, left: int, top: int, colours: str, ends: tuple[str, str]) -> None:
        """Draw a colour scale of 90 dots with what its ends mean beside it."""
        start = left + round(text_width(f"{ends[0]}  "))
        self.text(left, top, ends[0], color=GREY)
        colours_W4 = colormaps[colours](np.linspace(0, 1, 90))
        self._ground[top - 8 : top + 1, start : start + 90] = np.rint(colours_W4[:, :3] * 255)
        self.text(start + 90 + LETTER, top, ends[1], color=GREY)


def text_width(text: str) -> float:
    """Return how many dots a text of the usual size takes."""
    font = get_font(findfont(FONT))
    font.set_size(SIZE, DPI)
    font.set_text(legible(text))
    return float(font.get_width_height()[0]) / 64  # FreeType measures in 64ths


def wrapped(text: str, width: float) -> list[str]:
    """Cut a text of the usual letters into lines that fit into `width` dots."""
    return textwrap.wrap(text, max(20, int(width / LETTER)))


def tail(text: str, limit: int) -> str:
    """Return the end of a text: in names like n01440764_tench.JPEG that is what tells."""
    return text if len(text) <= limit else f"…{text[len(text) - limit + 1 :]}"
