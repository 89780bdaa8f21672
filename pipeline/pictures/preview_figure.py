"""The PNG of `scae preview`: panels laid out to the dot.

A panel has the image over its map at the left, and a column a lambda: P(i, j), rectangles, and the
image as the network gets it. Generations of one sample stand beside each other; where there is but
one, two samples do.

Legend: S side of an image in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.pictures.marks import (
    HEAT,
    RATIOS,
    SMALL,
    draw_boxes,
    grey,
    legible,
    overlay,
    ratio_rgb,
)
from pipeline.pictures.preview_panel import Panel, Strength, density_limit
from pipeline.pictures.preview_words import (
    PREVIEW_LINES,
    PreviewWords,
    density_ends,
    lambda_text,
    mean_text,
)
from pipeline.pictures.sheet import GREY, LETTER, Sheet, tail, text_width, wrapped

GAP = 20
"""Dots between panels, and around the picture."""
INNER = 4
"""Dots between cells of a panel."""
TITLE = 20
"""Dots above a panel's cells: what it is of."""
STRIP = 17
"""Dots above a cell: what it shows."""
GUTTER = 24
"""Dots left of the columns: what a line of cells shows."""
LINE = 16
"""Dots from a line of text to the next."""
SMALL_CELLS = (128, 96)
"""Side in dots of image and map, and of the other cells, for small images."""
LARGE_CELLS = (224, 168)
"""The same for others."""
NARROWEST = 520
"""Least width of the picture in dots, which its head needs."""
BESIDE = 2
"""Samples of one generation beside each other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Where a panel's cells lie, in dots from the panel's upper left corner."""

    wide: int
    """Side of image and map."""
    cell: int
    """Side of a lambda's cells."""
    num_lambdas: int
    """Columns of those."""

    @classmethod
    def of(cls, side: int, num_lambdas: int) -> "Layout":
        """Choose sides of cells for images of `side` pixels: whole multiples where that fits."""
        limits = SMALL_CELLS if side <= SMALL else LARGE_CELLS
        wide, cell = (side * (limit // side) if side <= limit else limit for limit in limits)
        return cls(wide=wide, cell=cell, num_lambdas=num_lambdas)

    @property
    def height(self) -> int:
        """Dots of a panel from top to bottom."""
        columns, left = 3 * self.cell + 2 * INNER, 2 * self.wide + STRIP + INNER
        return TITLE + STRIP + max(columns, left)

    @property
    def width(self) -> int:
        """Dots of a panel from left to right."""
        return self.left(self.num_lambdas) - INNER

    @property
    def top(self) -> int:
        """Where the first line of cells begins."""
        return TITLE + STRIP

    def left(self, number: int) -> int:
        """Where the column of a lambda begins."""
        return self.wide + GUTTER + number * (self.cell + INNER)

    def line(self, number: int) -> int:
        """Where a line of cells begins."""
        return self.top + number * (self.cell + INNER)


def preview_figure(samples: Sequence[Sequence[Panel]], words: PreviewWords) -> Figure:
    """Draw samples, top to bottom, each with a panel a generation.

    Args:
        samples: For each sample its panels, one a generation; all as many, at least one.
        words: What the picture says about itself.
    """
    first = samples[0][0]
    layout = Layout.of(first.image.shape[0], len(first.strengths))
    panels = [panel for panels in samples for panel in panels]
    num_columns = len(samples[0]) if len(samples[0]) > 1 else min(BESIDE, len(panels))
    width = max(NARROWEST, GAP + num_columns * (layout.width + GAP))
    notes = [line for note in words.notes for line in wrapped(note, width - 2 * GAP)]
    facts = [line for fact in words.facts for line in wrapped(fact, width - 2 * GAP)]
    head, foot = 62 + LINE * len(facts), LINE * len(notes) + 8
    num_lines = -(-len(panels) // num_columns)
    sheet = Sheet(width, head + num_lines * (layout.height + GAP) + foot)
    limit = density_limit(panels)
    _head(sheet, words.title, facts, limit)
    for place, panel in enumerate(panels):
        left = GAP + place % num_columns * (layout.width + GAP)
        top = head + place // num_columns * (layout.height + GAP)
        _PanelDrawing(sheet, layout, left, top, limit).draw(panel)
    for number, note in enumerate(notes):
        sheet.text(GAP, sheet.height - foot + LINE * number, note, color=GREY)
    return sheet.figure()


def _head(sheet: Sheet, title: str, facts: Sequence[str], limit: float) -> None:
    sheet.text(GAP, 27, title, fontsize=13, weight="bold")
    for number, fact in enumerate(facts):
        sheet.text(GAP, 46 + LINE * number, fact, color=GREY)
    top = 46 + LINE * len(facts)
    sheet.text(GAP, top, "map Â", weight="bold")
    sheet.scale(GAP + 50, top, HEAT, ("0", "1"))
    sheet.text(GAP + 190, top, "P(i, j)", weight="bold")
    sheet.scale(GAP + 245, top, RATIOS, density_ends(limit))


@dataclass(frozen=True, slots=True)
class _PanelDrawing:
    """Draws into one panel's part of the sheet."""

    sheet: Sheet
    layout: Layout
    left: int
    top: int
    limit: float

    def draw(self, panel: Panel) -> None:
        layout, sheet = self.layout, self.sheet
        self._title(panel)
        labels = self.top + layout.top - 5
        self._label(0, layout.wide, labels, "image", "")
        sheet.picture(self.left, self.top + layout.top, layout.wide, panel.image)
        below = self.top + layout.height - layout.wide
        self._label(0, layout.wide, below - 5, "map Â", f"p = {panel.probability:.2f}")
        sheet.picture(self.left, below, layout.wide, overlay(panel.image, panel.saliency))
        if panel.flat:
            sheet.badge(self.left + layout.wide / 2, below + layout.wide / 2, "flat map: uniform")
        for number, name in enumerate(PREVIEW_LINES):
            middle = self.top + layout.line(number) + layout.cell / 2
            place = (self.left + layout.wide + GUTTER - 5, middle)
            sheet.text(*place, name, rotation=90, ha="right", va="center", color=GREY)
        for number, strength in enumerate(panel.strengths):
            self._column(layout.left(number), panel.image, strength)

    def _title(self, panel: Panel) -> None:
        """Write the class at the left end, and at the right end which sample it is."""
        width, top = self.layout.width, self.top + 12
        place = f" · {panel.source} · generation {panel.generation}"
        room = max(int((width - text_width(f"row {panel.row}")) / LETTER * 0.6), 12)
        right = f"row {panel.row}{tail(place, room)}"
        letters = max(int((width - text_width(right)) / LETTER) - 3, 4)
        self.sheet.text(self.left, top, legible(panel.class_name, letters), weight="bold")
        self.sheet.text(self.left + width, top, right, ha="right", color=GREY)

    def _column(self, left: int, image: NDArray[np.uint8], strength: Strength) -> None:
        """Draw what one lambda makes of the map."""
        layout, lam = self.layout, f"λ = {lambda_text(strength.lam)}"
        self._label(left, layout.cell, self.top + layout.top - 5, lam, mean_text(strength))
        pictures = (ratio_rgb(strength.density, self.limit), grey(image), strength.erased)
        tops = [self.top + layout.line(number) for number in range(len(pictures))]
        for top, pixels in zip(tops, pictures, strict=True):
            self.sheet.picture(self.left + left, top, layout.cell, pixels)
        if strength.uniform:
            middle = (self.left + left + layout.cell / 2, tops[0] + layout.cell / 2)
            self.sheet.text(*middle, "uniform", ha="center", va="center", color=GREY)
        draw_boxes(
            self.sheet.axes,
            strength.boxes,
            strength.centres,
            origin=(self.left + left, tops[1]),
            scale=layout.cell / len(image),
        )

    def _label(self, left: int, width: int, top: float, name: str, note: str) -> None:
        """Write what a cell shows and, if there is room, a figure."""
        self.sheet.text(self.left + left, top, name)
        start = text_width(f"{name}  ")
        if start + text_width(note) <= width:
            self.sheet.text(self.left + left + start, top, note, color=GREY)
