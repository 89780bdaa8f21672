"""`scae preview --loader`: the very batch that a step of training sees.

Legend: B samples shown, S side of an image in pixels.
"""

from dataclasses import dataclass, replace
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
from pipeline.pictures.marks import BOX_COLOURS, FONT, figure_png, legible
from pipeline.pictures.preview import checked_picture_path, write_picture
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
    """Draw a batch of a recipe's training into a PNG file, whole or not at all.

    Args:
        recipe: The recipe, as `scae train` reads it.
        cache: Path or URL of the cache.
        out: The PNG file; replaced if it is there.
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
    write_picture(path, figure_png(_figure(parts, batch, options.num, title)))
    shown = min(options.num, len(batch.indices))
    return f"{path}: {shown} of {len(batch.indices)} samples of {title}"


def _figure(parts: RunParts, batch: Batch, num: int, title: str) -> Figure:
    images_BSS3 = _pixels(batch, parts.built.mean, parts.built.std)[:num]
    num_rows = -(-len(images_BSS3) // COLUMNS)
    height = num_rows * CELL_INCHES * 1.22 + HEAD_INCHES
    figure = Figure((COLUMNS * CELL_INCHES, height), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.01, 1 - 0.3 / height, legible(title), family=FONT, fontsize=10)
    top = 1 - HEAD_INCHES / height
    grid = figure.add_gridspec(
        num_rows, COLUMNS, left=0.01, right=0.99, bottom=0.005, top=top - 0.12 / height,
        wspace=0.06, hspace=0.32,
    )  # fmt: skip
    for place, image in enumerate(images_BSS3):
        axes = figure.add_subplot(grid[place // COLUMNS, place % COLUMNS])
        axes.set_axis_off()
        smooth = "nearest" if len(image) <= 96 else "antialiased"
        axes.imshow(image, interpolation=smooth, extent=(0, len(image), len(image), 0))
        _outline(axes, batch.boxes[place].numpy())
        class_name = parts.train_data.class_names[parts.train_data.labels[batch.indices[place]]]
        caption = f"{legible(class_name, 18)}\n{_what(batch, place)}"
        axes.set_title(caption, fontsize=7, pad=3, parse_math=False, family=FONT)
    return figure


def _outline(axes: Axes, box: NDArray[np.int64]) -> None:
    y0, x0, y1, x1 = box.tolist()
    if y1 > y0:
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


def _pixels(batch: Batch, mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.uint8]:
    """Undo the normalisation: (B, S, S, 3) uint8."""
    images_BSS3 = batch.images.permute(0, 2, 3, 1).numpy() * np.array(std) + np.array(mean)
    return np.rint(np.clip(images_BSS3, 0, 1) * 255).astype(np.uint8)
