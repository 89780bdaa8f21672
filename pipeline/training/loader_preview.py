"""`scae preview --loader`: the very batch that a step of training sees.

Legend: B samples shown, S side of an image in pixels.
"""

from dataclasses import dataclass, replace
from html import escape
from itertools import islice
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from loaders.batches import Batch
from loaders.errors import OptionError
from loaders.policy import Event
from pipeline.pictures.drawn import pixels_seen
from pipeline.pictures.layers import svg_layer, svg_open, svg_rectangles
from pipeline.pictures.marks import BOX_COLOURS, FONT, SMALL, figure_png, image_uri, legible
from pipeline.pictures.page import html_page
from pipeline.pictures.picture_file import checked_picture_path, is_page, write_picture
from pipeline.training.recipe import Recipe
from pipeline.training.setup import RunParts, build_parts

COLUMNS = 8
"""Samples beside one another."""
CELL_INCHES = 1.45
"""Side of a cell; 100 dots an inch."""
HEAD_INCHES = 0.55
"""Above the first row."""
MAX_SAMPLES = 64
"""More would make a picture that no viewer opens."""


STYLE = """
.batch { display: grid; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr));
  gap: 16px 12px; margin-top: 16px; }
.batch figcaption { color: var(--ink); overflow-wrap: anywhere; }
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoaderPreviewOptions:
    """Which batch to show.

    Raises:
        OptionError: If a number is outside its range.
    """

    epoch: int = 0
    """0-based epoch."""
    step: int = 0
    """0-based step of that epoch."""
    generation: int | None = None
    """Generation to erase by, 0 for none, None for the newest."""
    num: int = 32
    """Samples of the batch to show at most, in [1, 64]."""

    def __post_init__(self) -> None:
        if not 1 <= self.num <= MAX_SAMPLES:
            raise OptionError(
                f"num of a loader's preview must be in [1, {MAX_SAMPLES}], got {self.num}"
            )


def write_loader_preview(
    recipe: Recipe, cache: str | Path, out: str | Path, options: LoaderPreviewOptions
) -> str:
    """Draw a batch of a recipe's training into a PNG or HTML file, whole or not at all.

    Args:
        recipe: The recipe, as `scae train` reads it.
        cache: Path or URL of the cache.
        out: The file; replaced if it is there. Its ending says what it is to be.
        options: Which batch.

    Returns:
        One line for a person.

    Raises:
        OptionError: If there is no such epoch or step, or the file can't be made.
        CacheNotFoundError: If there is no cache, no generation, or not that one.
    """
    path = checked_picture_path(Path(out))
    quick = replace(
        recipe,
        data=replace(recipe.data, evaluate=False),
        train=replace(recipe.train, workers=0, device="cpu"),
    )
    parts = build_parts(quick, cache)
    generation = parts.loader.set_epoch(options.epoch, options.generation)
    if not 0 <= options.step < len(parts.loader):
        raise OptionError(
            f"step of a loader's preview must be in [0, {len(parts.loader)}), got {options.step}"
        )
    batch = next(islice(parts.loader, options.step, None))
    title = (
        f"{recipe.name}: epoch {options.epoch}, step {options.step}, seed {recipe.seed}, "
        f"generation {generation or 'none'}"
    )
    tiles = _tiles(parts, batch)[: options.num]
    if is_page(path):
        write_picture(path, _page(tiles, title))
    else:
        write_picture(path, figure_png(_figure(tiles, title)))
    return f"{path}: {len(tiles)} of {len(batch.indices)} samples of {title}"


@dataclass(frozen=True, eq=False, slots=True)
class _Tile:
    """One sample of the batch."""

    class_name: str
    event: str
    """What has happened to it."""
    image: NDArray[np.uint8]
    """(S, S, 3) uint8 RGB."""
    box: NDArray[np.int64]
    """(4,) int64 (y0, x0, y1, x1), empty if nothing is erased."""


def _tiles(parts: RunParts, batch: Batch) -> list[_Tile]:
    images_BSS3 = pixels_seen(batch.images.numpy(), parts.built.mean, parts.built.std)
    names, labels = parts.train_data.class_names, parts.train_data.labels[batch.indices]
    return [
        _Tile(names[label], _what(batch, place), image, batch.boxes[place].numpy())
        for place, (label, image) in enumerate(zip(labels, images_BSS3, strict=True))
    ]


def _page(tiles: list[_Tile], title: str) -> str:
    cells = []
    for tile in tiles:
        size, name = len(tile.image), escape(tile.class_name, quote=True)
        box_14, none_02 = tile.box[None], np.empty((0, 2), np.int64)
        outline = svg_rectangles(box_14, none_02, radius=0) if _erased(tile) else ""
        layer = svg_layer(image_uri(tile.image), size)
        cells.append(
            f"<figure>{svg_open(size, name=name)}{layer}{outline}</svg>"
            f"<figcaption>{name}<small>{tile.event}</small></figcaption></figure>"
        )
    grid = f"<section class='batch'>{''.join(cells)}</section>"
    return html_page(title, [f"<h1>{escape(title)}</h1>", grid], style=STYLE)


def _figure(tiles: list[_Tile], title: str) -> Figure:
    num_rows = -(-len(tiles) // COLUMNS)
    height = num_rows * CELL_INCHES * 1.22 + HEAD_INCHES
    figure = Figure((COLUMNS * CELL_INCHES, height), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.01, 1 - 0.3 / height, legible(title), family=FONT, fontsize=10)
    top = 1 - HEAD_INCHES / height
    grid = figure.add_gridspec(
        num_rows, COLUMNS, left=0.01, right=0.99, bottom=0.005, top=top - 0.12 / height,
        wspace=0.06, hspace=0.32,
    )  # fmt: skip
    for place, tile in enumerate(tiles):
        axes, size = figure.add_subplot(grid[place // COLUMNS, place % COLUMNS]), len(tile.image)
        axes.set_axis_off()
        smooth = "nearest" if size <= SMALL else "antialiased"
        axes.imshow(tile.image, interpolation=smooth, extent=(0, size, size, 0))
        if _erased(tile):
            _outline(axes, tile.box)
        caption = f"{legible(tile.class_name, 18)}\n{tile.event}"
        axes.set_title(caption, fontsize=7, pad=3, parse_math=False, family=FONT)
    return figure


def _erased(tile: _Tile) -> bool:
    return bool(tile.box[2] > tile.box[0])


def _outline(axes: Axes, box: NDArray[np.int64]) -> None:
    y0, x0, y1, x1 = box.tolist()
    axes.add_patch(
        Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=BOX_COLOURS[0], linewidth=1.2)
    )


def _what(batch: Batch, place: int) -> str:
    event = int(batch.events[place])
    if event == Event.MIXUP:
        return "mixed"
    if event != Event.ERASE:
        return "as it is"
    saliency = float(batch.saliency[place])
    return "erased, no map" if np.isnan(saliency) else f"erased at A = {saliency:.2f}"
