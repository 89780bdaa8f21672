"""The samples of a training report: what was erased, where, and by which map, epoch after epoch.

Legend: B samples shown, M rectangles of a sample, S side of an image in pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_store.errors import CacheNotFoundError
from loaders.batches import NO_GENERATION
from loaders.decode import read_resized
from loaders.image_data import ImageData
from loaders.map_source import MapBatch, MapSource
from loaders.policy import ScaePolicy
from pipeline.pictures.drawn import Drawn, dense_saliency, draw_rectangles, spread_rows
from pipeline.pictures.layers import svg_open, svg_rectangles
from pipeline.pictures.marks import data_uri, faded, heat_rgba, image_png

NUM_SAMPLES = 6
"""Samples shown, from head to tail."""
NUM_EPOCHS = 6
"""Epochs shown, the first and the last among them."""
CELL = 136
"""Narrowest column of the table in pixels; beyond that it scrolls."""
NUM_BOXES = 4
"""Rectangles a picture."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class RunView:
    """What the samples' pictures are made of."""

    data: ImageData
    """The training set as trained."""
    cache: str | Path | None
    """Its cache, if there is one."""
    policy: ScaePolicy | None
    """None: nothing is erased."""
    size: int
    """Side of the network's input in pixels."""
    seed: int
    """The run's seed."""


def samples_table(view: RunView, metrics: Sequence[Mapping[str, Any]]) -> str:
    """Return an HTML table, one sample a row: the image, then one picture for each shown epoch."""
    rows_B = spread_rows(view.data, NUM_SAMPLES, view.seed)
    shown = _shown_epochs(metrics)
    images_BSS3 = read_resized(view.data, rows_B, view.size).permute(0, 2, 3, 1).numpy()
    columns = [_column(view, rows_B, row) for row in shown]
    heads = "".join(f"<th>{_epoch_head(row)}</th>" for row in shown)
    width = f"min-width:{CELL * (1 + len(shown))}px"
    head = f"<thead><tr><th>image</th>{heads}</tr></thead>"
    lines = [f"<table class='samples' style='{width}'>{head}<tbody>"]
    for place, row in enumerate(rows_B.tolist()):
        cells = "".join(f"<td>{column[place]}</td>" for column in columns)
        first = _first_cell(view, row, place, images_BSS3[place])
        lines.append(f"<tr><th>{first}</th>{cells}</tr>")
    return "\n".join([*lines, "</tbody></table>"])


def _shown_epochs(metrics: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Choose epochs evenly; a second stage that erases nothing is left out."""
    metrics = [row for row in metrics if row["stage"] != 2 or row["erased"] > 0]
    places = np.unique(np.linspace(0, len(metrics) - 1, NUM_EPOCHS).round().astype(int))
    return [metrics[place] for place in places if place >= 0]


def _epoch_head(row: Mapping[str, Any]) -> str:
    number = row["generation"]
    maps = "no maps yet" if number == NO_GENERATION else f"generation {number}"
    return f"epoch {row['epoch']}<small>λ = {row['lam']:.2f}, {maps}</small>"


def _column(view: RunView, rows_B: NDArray[np.int64], row: Mapping[str, Any]) -> list[str]:
    """Return the pictures of all shown samples at one epoch."""
    maps, note = _maps(view, rows_B, row["generation"])
    saliency_BSS = dense_saliency(maps, view.size)
    drawn = None
    if view.policy is not None:
        drawn = draw_rectangles(
            maps,
            rows_B,
            view.size,
            float(row["lam"]),
            num=NUM_BOXES,
            seed=view.seed,
            epoch=row["epoch"],
            policy=view.policy,
        )
    cells = []
    for place, gain in enumerate(maps.gains):
        flat = row["generation"] != NO_GENERATION and gain == 0
        layer = None if gain == 0 else heat_rgba(saliency_BSS[place])
        text = note or ("flat map: uniform" if flat else "")
        words = f"row {rows_B[place]} at epoch {row['epoch']}"
        cells.append(_picture(view.size, place, layer, drawn, text, words))
    return cells


def _maps(view: RunView, rows_B: NDArray[np.int64], generation: int) -> tuple[MapBatch, str]:
    """Return maps of the samples, and what is to be said about them if they are missing."""
    source = MapSource(view.data, view.cache, view.size)
    try:
        return source.fetch(generation, rows_B), ""
    except CacheNotFoundError:
        return source.fetch(NO_GENERATION, rows_B), f"generation {generation} was removed"


def _first_cell(view: RunView, row: int, place: int, image: NDArray[np.uint8]) -> str:
    """Return the sample's name and image; the other cells refer to its faded copy."""
    label = int(view.data.labels[row])
    count = int(view.data.class_counts[label])
    plain, grey = (data_uri(image_png(pixels), "png") for pixels in (image, faded(image)))
    size = view.size
    shape = f"width='{size}' height='{size}'"
    return (
        f"{svg_open(size, name=f'row {row}, as it is')}"
        f"<defs><image id='sample-{place}' href='{grey}' {shape}/></defs>"
        f"<image href='{plain}' {shape}/></svg>"
        f"{escape(view.data.class_names[label])}<small>row {row}, class of {count:,}</small>"
    )


def _picture(
    size: int,
    place: int,
    layer: NDArray[np.uint8] | None,
    drawn: Drawn | None,
    note: str,
    words: str,
) -> str:
    parts = [
        svg_open(size, name=f"map and rectangles of {words}"),
        f"<use href='#sample-{place}'/>",
    ]
    if layer is not None:
        address = data_uri(image_png(layer), "png")
        parts.append(f"<image href='{address}' width='{size}' height='{size}'/>")
    if drawn is not None:
        parts.append(svg_rectangles(drawn.boxes[place], drawn.centres[place], radius=size / 55))
    parts.append("</svg>")
    if note:
        parts.append(f"<small>{escape(note)}</small>")
    return "".join(parts)
