"""The picture of `scae preview`: one sample a row, laid out to the pixel.

Legend: S side of an image in pixels, M rectangles, C points, L values of lambda.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.pictures.drawn import density
from pipeline.pictures.marks import FONT, HEAT, draw_boxes, legible, overlay

DPI = 100
"""Dots an inch; only the ratio to font sizes matters."""
CELL = 224
"""Side of a cell in dots; small images take the largest multiple of their side up to it."""
GAP = 10
"""Dots between cells, and around the picture."""
HEAD = 112
"""Dots above the first row: title, column names, colour scales."""
STRIP = 22
"""Dots above each row's cells: their titles."""
FOOT = 26
"""Dots below the last row: the note."""
INK, GREY = "#1a1a1a", "#666666"
LETTERS = 31
"""Letters of the small font that fit over a cell of 224 dots."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class PreviewRow:
    """What is shown of one sample."""

    number: int
    """Its row in the data set."""
    source: str
    """File name of the image, or what stands for it."""
    class_name: str
    """Name of its class."""
    probability: float
    """The network's probability of that class."""
    image: NDArray[np.uint8]
    """(S, S, 3) uint8 RGB."""
    saliency: NDArray[np.float64]
    """(S, S) float64, A_hat of Eq. 4 in [0, 1]."""
    flat: bool
    """Whether there is no map, so that centres are uniform."""
    boxes: tuple[NDArray[np.int64], ...]
    """L arrays (M, 4) int64 rows (y0, x0, y1, x1)."""
    centres: tuple[NDArray[np.int64], ...]
    """L arrays (M, 2) int64 rows (y, x), of those rectangles."""
    points: tuple[NDArray[np.int64], ...]
    """L arrays (C, 2) int64 rows (y, x): further centres."""


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where things lie, in dots from the upper left corner."""

    cell: int
    num_columns: int
    num_rows: int

    @property
    def width(self) -> int:
        return GAP + self.num_columns * (self.cell + GAP)

    @property
    def height(self) -> int:
        return HEAD + self.num_rows * (STRIP + self.cell + GAP) + FOOT

    def left(self, column: int) -> int:
        return GAP + column * (self.cell + GAP)

    def top(self, row: int) -> int:
        return HEAD + row * (STRIP + self.cell + GAP) + STRIP


class _Page:
    """A figure that is addressed in dots."""

    def __init__(self, grid: _Grid) -> None:
        self.grid = grid
        self.figure = Figure((grid.width / DPI, grid.height / DPI), dpi=DPI, facecolor="white")
        FigureCanvasAgg(self.figure)

    def text(self, left: float, top: float, text: str, **style: object) -> None:
        """Write one line whose letters stand at `top`."""
        grid = self.grid
        style = {"va": "baseline", "color": INK, "family": FONT, "fontsize": 8, **style}
        place = (left / grid.width, 1 - top / grid.height)
        self.figure.text(*place, legible(text), parse_math=False, **style)  # type: ignore[arg-type]

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Return axes without frame and ticks."""
        grid = self.grid
        bottom = 1 - (top + height) / grid.height
        place = (left / grid.width, bottom, width / grid.width, height / grid.height)
        axes = self.figure.add_axes(place)
        axes.set_axis_off()
        return axes

    def picture(self, row: int, column: int, pixels: NDArray[np.generic], **style: object) -> Axes:
        """Show (S, S) or (S, S, 3) pixels in a cell."""
        grid = self.grid
        axes = self.axes(grid.left(column), grid.top(row), grid.cell, grid.cell)
        height, width = pixels.shape[:2]
        # Pixel (y, x) covers [x, x + 1) by [y, y + 1), as half-open boxes do.
        style = {"extent": (0, width, height, 0), "aspect": "auto", **style}
        smooth = "nearest" if grid.cell % width == 0 else "antialiased"
        axes.imshow(pixels, interpolation=smooth, **style)  # type: ignore[arg-type]
        axes.set(xlim=(0, width), ylim=(height, 0))
        return axes


def preview_figure(
    rows: Sequence[PreviewRow], lambdas: Sequence[float], *, title: tuple[str, str]
) -> Figure:
    """Draw the grid: image, map, density at the largest lambda, rectangles at each lambda.

    Args:
        rows: Samples, top to bottom; at least one.
        lambdas: L guidance strengths.
        title: Headline and the line under it.
    """
    side = rows[0].image.shape[0]
    cell = side * (CELL // side) if side <= CELL else CELL
    page = _Page(_Grid(cell, 3 + len(lambdas), len(rows)))
    densities = [density(row.saliency, max(lambdas)) for row in rows]
    highest = max(1.0, *(float(density_HW.max()) for density_HW in densities))
    _head(page, lambdas, title, highest)
    for place, (row, density_HW) in enumerate(zip(rows, densities, strict=True)):
        _row(page, place, row, lambdas)
        axes = page.picture(place, 2, density_HW, cmap=HEAT, vmin=0, vmax=highest)
        if row.flat:
            _badge(axes, "flat map: uniform")
        else:
            _strip(
                page,
                place,
                2,
                f"{density_HW.min():.2f} to {density_HW.max():.2f} \N{MULTIPLICATION SIGN} uniform",
            )
    _foot(page, len(rows[0].boxes[0]), len(rows[0].points[0]))
    return page.figure


def _head(page: _Page, lambdas: Sequence[float], title: tuple[str, str], highest: float) -> None:
    page.text(GAP, 27, title[0], fontsize=13, weight="bold")
    page.text(GAP, 48, title[1], fontsize=8, color=GREY)
    names = ["image", "saliency map Â", f"P(i, j) of Eq. 4 at λ = {_number(max(lambdas))}"]
    names += [f"λ = {_number(lam)}" for lam in lambdas]
    notes = ["", "", ""] + [_meaning(lam) for lam in lambdas]
    for column, (name, note) in enumerate(zip(names, notes, strict=True)):
        left = page.grid.left(column)
        page.text(left, 82, name, fontsize=10.5, weight="bold")
        page.text(left, 101, note, color=GREY)
    _scale(page, 1, "0", "1")
    _scale(page, 2, "0", f"{highest:.1f} \N{MULTIPLICATION SIGN} uniform")


def _foot(page: _Page, num_boxes: int, num_points: int) -> None:
    page.text(
        GAP,
        page.grid.height - 9,
        f"Each λ: {num_boxes} rectangles with their centres, and {num_points} more centres as "
        "points. The random numbers are the same in every column: only λ differs. "
        "Mean Â: expected saliency at a centre.",
        color=GREY,
    )


def _scale(page: _Page, column: int, low: str, high: str) -> None:
    """Draw a colour scale under a column's name."""
    left, width = page.grid.left(column), 90
    page.text(left, 101, low, color=GREY)
    axes = page.axes(left + 12, 93, width, 9)
    axes.imshow(np.linspace(0, 1, 256)[None], cmap=HEAT, aspect="auto")
    page.text(left + 18 + width, 101, high, color=GREY)


def _row(page: _Page, place: int, row: PreviewRow, lambdas: Sequence[float]) -> None:
    page.picture(place, 0, row.image)
    name = f"row {row.number}"
    _strip(page, place, 0, name, _tail(row.source, _letters(page) - len(name) - 2))
    axes = page.picture(place, 1, overlay(row.image, row.saliency))
    chance = f"p = {row.probability:.2f}"
    _strip(page, place, 1, legible(row.class_name, _letters(page) - len(chance) - 2), chance)
    if row.flat:
        _badge(axes, "flat map: uniform")
    for number, lam in enumerate(lambdas):
        axes = page.picture(place, 3 + number, row.image)
        _draw_points(axes, row.points[number])
        draw_boxes(axes, row.boxes[number], row.centres[number])
        mean = float((density(row.saliency, lam) * row.saliency).mean())
        _strip(page, place, 3 + number, "" if row.flat else f"mean Â {mean:.2f}")


def _draw_points(axes: Axes, points_C2: NDArray[np.int64]) -> None:
    """Draw centres as points, spread evenly within their pixels so that none hides another."""
    golden = np.array([0.7548776662466927, 0.5698402909980532])  # the R2 sequence of M. Roberts
    within_C2 = (0.5 + golden * np.arange(len(points_C2))[:, None]) % 1
    y_C, x_C = (points_C2 + within_C2).T
    axes.scatter(x_C, y_C, s=4, color="white", edgecolors="black", linewidths=0.4, zorder=2)


def _strip(page: _Page, row: int, column: int, left: str, right: str = "") -> None:
    """Write a cell's title: one text at its left end, one at its right end."""
    grid = page.grid
    start, baseline = grid.left(column), grid.top(row) - 6
    page.text(start, baseline, left, weight="bold" if right else "normal")
    page.text(start + grid.cell, baseline, right, ha="right", color=GREY)


def _letters(page: _Page) -> int:
    """Return how many letters a cell's title has room for."""
    return LETTERS * page.grid.cell // CELL


def _badge(axes: Axes, text: str) -> None:
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=9,
        family=FONT, color="white", bbox={"facecolor": "#222222", "edgecolor": "none", "pad": 4},
    )  # fmt: skip


def _tail(text: str, limit: int) -> str:
    """Return the end of a text: in names like n01440764_tench.JPEG that is what tells."""
    return text if len(text) <= limit else f"…{text[len(text) - limit + 1 :]}"


def _number(lam: float) -> str:
    return f"{lam:g}".replace("-", "\N{MINUS SIGN}")


def _meaning(lam: float) -> str:
    if lam == 0:
        return "uniform centres"
    return "seeks the salient" if lam > 0 else "spares the salient"
