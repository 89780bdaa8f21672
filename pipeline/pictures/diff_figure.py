"""The PNG of a comparison: histograms, and the samples that moved most, laid out to the dot."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from pipeline.pictures.diff_sample import DiffWords, MovedSample, histograms
from pipeline.pictures.marks import SMALL, legible, overlay
from pipeline.pictures.sheet import GREY, LETTER, Sheet
from pipeline.refresh.compare import MapComparison

GAP = 20
"""Dots between samples, and around the picture."""
INNER = 4
"""Dots between a sample's cells."""
BESIDE = 2
"""Samples beside each other."""
LINE = 16
"""Dots from a line of text to the next."""
NAMES = 120
"""Dots that names of figures take."""
CHART = 150
"""Height of a histogram in dots."""
STRIPS = 3 * LINE
"""Dots above a sample's cells."""


def diff_figure(found: MapComparison, moved: Sequence[MovedSample], words: DiffWords) -> Figure:
    """Draw a comparison.

    Args:
        found: The comparison.
        moved: Samples to show.
        words: What the picture says about itself.
    """
    cell = _cell(moved)
    num_cells = 3 if any(sample.image is not None for sample in moved) else 2
    block = num_cells * (cell + INNER) - INNER
    width = max(2 * GAP + BESIDE * block + GAP, 760)
    charts = 52 + LINE * len(words.facts)
    below = charts + CHART + 90
    num_rows = -(-len(moved) // BESIDE)
    sheet = Sheet(width, below + num_rows * (STRIPS + cell + GAP))
    sheet.text(GAP, 27, words.title, fontsize=13, weight="bold")
    for number, (name, text) in enumerate(words.facts):
        sheet.text(GAP, 48 + LINE * number, name, color=GREY)
        sheet.text(GAP + NAMES, 48 + LINE * number, text)
    _charts(sheet, found, charts)
    if moved:
        sheet.text(GAP, below - 14, "Samples whose maps moved most", fontsize=10, weight="bold")
    for place, sample in enumerate(moved):
        left = GAP + place % BESIDE * (block + GAP)
        _sample(sheet, sample, left, below + place // BESIDE * (STRIPS + cell + GAP), cell)
    return sheet.figure()


def _cell(moved: Sequence[MovedSample]) -> int:
    """Return the side of a cell in dots: a whole multiple of a small image's."""
    side = len(moved[0].first) if moved else SMALL
    limit = 128 if side <= SMALL else 224
    return side * (limit // side) if side <= limit else limit


def _charts(sheet: Sheet, found: MapComparison, top: int) -> None:
    width = (sheet.width - 3 * GAP) // 2
    for number, histogram in enumerate(histograms(found)):
        left = GAP + number * (width + GAP)
        sheet.text(left, top + 10, histogram.title, weight="bold")
        sheet.text(left, top + 10 + LINE, histogram.caption, color=GREY)
        histogram.draw(sheet.chart(left + 46, top + 36, width - 60, CHART - 26))


def _sample(sheet: Sheet, sample: MovedSample, left: int, top: int, cell: int) -> None:
    num_cells = 2 if sample.image is None else 3
    letters = int((num_cells * cell) / LETTER)
    sheet.text(left, top + 12, legible(sample.title, letters), weight="bold")
    sheet.text(left, top + 12 + LINE, sample.figures, color=GREY)
    ground = np.full((*sample.first.shape, 3), 255, np.uint8)
    pictures = [("map A", sample.first), ("map B", sample.second)]
    place = left
    if sample.image is not None:
        ground = sample.image
        sheet.text(place, top + STRIPS - 5, "image")
        sheet.picture(place, top + STRIPS, cell, ground)
        place += cell + INNER
    for name, saliency in pictures:
        sheet.text(place, top + STRIPS - 5, name)
        sheet.picture(place, top + STRIPS, cell, overlay(ground, saliency))
        place += cell + INNER
