"""Pictures of a page in layers: an image that is embedded once, heat over it, rectangles on top.

Legend: M rectangles of one image, S its side in pixels.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.pictures.marks import BOX_COLOURS

SHARP_UP_TO = 96
"""Images of this side or less are shown with hard pixels."""


def svg_open(size: int, *, name: str = "") -> str:
    """Begin a picture whose units are the pixels of an image; `name` says what it shows."""
    sharp = " sharp" if size <= SHARP_UP_TO else ""
    named = f" role='img' aria-label='{name}'" if name else ""
    return f"<svg viewBox='0 0 {size} {size}' class='marks{sharp}'{named}>"


def svg_rectangles(boxes: NDArray[np.int64], centres: NDArray[np.int64], size: int) -> str:
    """Return outlines and centres as SVG, coloured as in the preview's PNG, with a dark rim.

    Args:
        boxes: (M, 4) int64 rows (y0, x0, y1, x1), half open.
        centres: (M, 2) int64 rows (y, x).
        size: S.
    """
    marks = []
    for number, (y0, x0, y1, x1) in enumerate(boxes.tolist()):
        colour = BOX_COLOURS[number % len(BOX_COLOURS)]
        shape = f"x='{x0}' y='{y0}' width='{x1 - x0}' height='{y1 - y0}'"
        marks.append(f"<rect class='rim' {shape}/><rect {shape} stroke='{colour}'/>")
        y, x = (centres[number] + 0.5).tolist()
        marks.append(f"<circle cx='{x}' cy='{y}' r='{size / 55:.3g}' fill='{colour}'/>")
    return "".join(marks)
