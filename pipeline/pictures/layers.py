"""Pictures of a page in layers: an image that is embedded once, heat over it, rectangles on top.

Legend: M rectangles of one image.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.pictures.marks import BOX_COLOURS, SMALL


def svg_open(size: int, *, name: str = "") -> str:
    """Begin a picture whose units are the pixels of an image; `name` says what it shows."""
    sharp = " sharp" if size <= SMALL else ""
    named = f" role='img' aria-label='{name}'" if name else ""
    return f"<svg viewBox='0 0 {size} {size}' class='marks{sharp}'{named}>"


def svg_layer(address: str, size: int, *, name: str = "") -> str:
    """Return an embedded image of `size` pixels as SVG; `name` is its id, for `use`."""
    known = f" id='{name}'" if name else ""
    return f"<image{known} href='{address}' width='{size}' height='{size}'/>"


def svg_rectangles(boxes: NDArray[np.int64], centres: NDArray[np.int64], *, radius: float) -> str:
    """Return outlines and centres as SVG, coloured as in the preview's PNG, with a dark rim.

    Args:
        boxes: (M, 4) int64 rows (y0, x0, y1, x1), half open.
        centres: (M, 2) int64 rows (y, x), or none.
        radius: Of a centre's dot, in pixels of the image.
    """
    colours = [BOX_COLOURS[number % len(BOX_COLOURS)] for number in range(len(boxes))]
    marks = []
    for (y0, x0, y1, x1), colour in zip(boxes.tolist(), colours, strict=True):
        shape = f"x='{x0}' y='{y0}' width='{x1 - x0}' height='{y1 - y0}'"
        marks.append(f"<rect class='rim' {shape}/><rect {shape} stroke='{colour}'/>")
    for (y, x), colour in zip((centres + 0.5).tolist(), colours, strict=False):
        marks.append(f"<circle cx='{x}' cy='{y}' r='{radius:.3g}' fill='{colour}'/>")
    return "".join(marks)
