"""`scae preview`: images, their maps, what Eq. 4 makes of them, and what the loader erases."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache_store.store import SaliencyStore
from loaders.errors import OptionError
from loaders.image_data import ImageData
from pipeline.pictures.marks import figure_png
from pipeline.pictures.picture_file import checked_picture_path, is_page, write_picture
from pipeline.pictures.preview_choice import chosen_rows
from pipeline.pictures.preview_figure import preview_figure
from pipeline.pictures.preview_page import preview_page
from pipeline.pictures.preview_panel import Shown, generation_panels
from pipeline.pictures.preview_words import preview_words

MAX_ROWS = 64
"""More would make a picture that no viewer opens."""

MAX_LAMBDAS = 12
"""The same, for columns."""

MAX_GENERATIONS = 4
"""The same, for generations side by side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewOptions:
    """What a preview shows.

    Raises:
        OptionError: If an option is outside its range; the message names it.
    """

    generations: tuple[int, ...] = ()
    """Numbers of the generations to show beside each other, at most 4; none: the newest."""
    rows: tuple[int, ...] = ()
    """Samples to show, by their row in the data set."""
    ids: tuple[int, ...] = ()
    """Further samples to show, by their id. With neither rows nor ids, `num` are chosen."""
    classes: tuple[str, ...] = ()
    """Names or numbers of classes to choose from; none: all."""
    num: int = 6
    """Samples to choose, spread over the classes; in [1, 64]."""
    lambdas: tuple[float, ...] = (-2.0, 0.0, 2.0)
    """Guidance strengths, one column each; 1 to 12 finite numbers."""
    boxes: int = 5
    """Rectangles a cell, in [0, 100]."""
    seed: int = 0
    """Decides which samples are chosen and where rectangles fall."""

    def __post_init__(self) -> None:
        named = len(self.rows) + len(self.ids)
        num, name = (named, "number of rows") if named else (self.num, "num")
        if named and self.classes:
            raise OptionError(
                "a preview shows rows and ids, or samples of classes, "
                f"got {named} of the former and {len(self.classes)} classes: leave one out"
            )
        if not 1 <= num <= MAX_ROWS:
            raise OptionError(f"{name} of a preview must be in [1, {MAX_ROWS}], got {num}")
        if len(self.generations) > MAX_GENERATIONS:
            raise OptionError(
                f"generations of a preview must be {MAX_GENERATIONS} at most, "
                f"got {len(self.generations)}"
            )
        fits = 1 <= len(self.lambdas) <= MAX_LAMBDAS and np.isfinite(self.lambdas).all()
        if not fits:
            raise OptionError(
                f"lambda of a preview must be 1 to {MAX_LAMBDAS} finite numbers, "
                f"got {list(self.lambdas)}"
            )
        if not 0 <= self.boxes <= 100:
            raise OptionError(f"boxes of a preview must be in [0, 100], got {self.boxes}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewReport:
    """What was drawn."""

    path: Path
    """The file."""
    generations: tuple[int, ...]
    """Numbers of the generations, left to right."""
    rows: tuple[int, ...]
    """Samples shown, top to bottom."""
    num_flat: int
    """How many of their maps are flat, over all generations."""

    @property
    def text(self) -> str:
        """One line for a person."""
        numbers = " and ".join(str(number) for number in self.generations)
        of = "generation" if len(self.generations) == 1 else "generations"
        flat = f", {self.num_flat} of their maps flat" if self.num_flat else ""
        return f"{self.path}: {len(self.rows)} samples of {of} {numbers}{flat}"


def write_preview(
    data: ImageData, cache: str | Path, out: str | Path, options: PreviewOptions
) -> PreviewReport:
    """Draw samples, maps and rectangles into a PNG or HTML file, whole or not at all.

    Args:
        data: The data set that the cache was made for, or a subset of it.
        cache: Path or URL of the cache.
        out: The file; replaced if it is there. Its ending, .png or .html, says what it is to be.
        options: What to show.

    Raises:
        CacheNotFoundError: If there is no cache, no generation, or not one that is asked for.
        CacheMismatchError: If the cache was made for other data.
        OptionError: If a row, id or class is not in the data, or the file can't be made.
        ImageReadError: If an image can't be decoded.
    """
    path = checked_picture_path(Path(out))
    store = SaliencyStore.open(cache)
    generations = [store.generation(number) for number in options.generations] or [store.latest()]
    rows_B = chosen_rows(
        data,
        rows=options.rows,
        ids=options.ids,
        classes=options.classes,
        num=options.num,
        seed=options.seed,
    )
    shown = Shown(rows=rows_B, lambdas=options.lambdas, num_boxes=options.boxes, seed=options.seed)
    size = generations[0].provenance.size  # one size for all, so that they can be compared
    columns = [generation_panels(data, one, shown, size=size) for one in generations]
    samples = list(zip(*columns, strict=True))
    words = preview_words(generations, options.boxes)
    if is_page(path):
        write_picture(path, preview_page(samples, words))
    else:
        write_picture(path, figure_png(preview_figure(samples, words)))
    return PreviewReport(
        path=path,
        generations=tuple(generation.number for generation in generations),
        rows=tuple(rows_B.tolist()),
        num_flat=sum(panel.flat for panels in samples for panel in panels),
    )
