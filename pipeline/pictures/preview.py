"""`scae preview`: a grid of images, their maps, and rectangles drawn by the loader's own code.

Legend: B samples shown, L values of lambda, M rectangles of a sample.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache_store.generation import Generation
from cache_store.rows import match_rows
from cache_store.store import SaliencyStore
from loaders.decode import read_resized
from loaders.errors import OptionError
from loaders.image_data import ImageData
from loaders.map_source import MapSource
from pipeline.pictures.drawn import dense_saliency, draw_rectangles, spread_rows
from pipeline.pictures.marks import figure_png
from pipeline.pictures.preview_figure import PreviewRow, preview_figure
from pipeline.refresh.whole_file import write_whole

MAX_ROWS = 64
"""More would make a picture that no viewer opens."""

MAX_LAMBDAS = 12
"""The same, for columns."""

NUM_POINTS = 250
"""Further centres a cell, drawn as points, so that the density can be seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewOptions:
    """What a preview shows.

    Raises:
        OptionError: If an option is outside its range; the message names it.
    """

    generation: int | None = None
    """Number of the generation, None for the newest."""
    rows: tuple[int, ...] | None = None
    """Samples to show, None chooses `num` of them."""
    num: int = 8
    """Samples to choose, spread over the classes; in [1, 64]."""
    lambdas: tuple[float, ...] = (-2.0, 0.0, 1.0, 2.0)
    """Guidance strengths, one column each; 1 to 12 finite numbers."""
    boxes: int = 8
    """Rectangles a cell, in [0, 100]."""
    seed: int = 0
    """Decides which samples are chosen and where rectangles fall."""

    def __post_init__(self) -> None:
        num = self.num if self.rows is None else len(self.rows)
        name = "num" if self.rows is None else "number of rows"
        if not 1 <= num <= MAX_ROWS:
            raise OptionError(f"{name} of a preview must be in [1, {MAX_ROWS}], got {num}")
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
    """The PNG file."""
    generation: int
    """Number of the generation."""
    rows: tuple[int, ...]
    """Samples shown, top to bottom."""
    num_flat: int
    """How many of them have a flat map."""

    @property
    def text(self) -> str:
        """One line for a person."""
        flat = f", {self.num_flat} of them with a flat map" if self.num_flat else ""
        return f"{self.path}: {len(self.rows)} samples of generation {self.generation}{flat}"


def write_preview(
    data: ImageData, cache: str | Path, out: str | Path, options: PreviewOptions
) -> PreviewReport:
    """Draw images, maps and rectangles into a PNG file, whole or not at all.

    Args:
        data: The data set that the cache was made for, or a subset of it.
        cache: Path or URL of the cache.
        out: The PNG file; replaced if it is there.
        options: What to show.

    Raises:
        CacheNotFoundError: If there is no cache, no generation, or not that one.
        CacheMismatchError: If the cache was made for other data.
        OptionError: If a row is outside the data, or the file can't be made.
        ImageReadError: If an image can't be decoded.
    """
    path = checked_picture_path(Path(out))
    store = SaliencyStore.open(cache)
    number = options.generation
    generation = store.latest() if number is None else store.generation(number)
    rows = _preview_rows(data, generation, str(cache), options)
    figure = preview_figure(rows, options.lambdas, title=_title(data, generation))
    write_picture(path, figure_png(figure))
    return PreviewReport(
        path=path,
        generation=generation.number,
        rows=tuple(row.number for row in rows),
        num_flat=sum(row.flat for row in rows),
    )


def _preview_rows(
    data: ImageData, generation: Generation, cache: str, options: PreviewOptions
) -> list[PreviewRow]:
    size = generation.provenance.size
    source = MapSource(data, cache, size)
    source.check(generation.number)
    rows_B = _chosen_rows(data, options)
    maps = source.fetch(generation.number, rows_B)
    images_BHW3 = read_resized(data, rows_B, size).permute(0, 2, 3, 1).numpy()
    saliency_BHW = dense_saliency(maps, size)
    num = options.boxes + NUM_POINTS
    drawn_L = [
        draw_rectangles(maps, rows_B, size, lam, num=num, seed=options.seed)
        for lam in options.lambdas
    ]
    probability_B = _probabilities(data, generation, rows_B, cache)
    return [
        PreviewRow(
            number=int(row),
            source=_file_name(data.describe(int(row))),
            class_name=data.class_names[data.labels[row]],
            probability=float(probability_B[place]),
            image=images_BHW3[place],
            saliency=saliency_BHW[place],
            flat=bool(maps.gains[place] == 0),
            boxes=tuple(drawn.boxes[place, : options.boxes] for drawn in drawn_L),
            centres=tuple(drawn.centres[place, : options.boxes] for drawn in drawn_L),
            points=tuple(drawn.centres[place, options.boxes :] for drawn in drawn_L),
        )
        for place, row in enumerate(rows_B)
    ]


def _chosen_rows(data: ImageData, options: PreviewOptions) -> NDArray[np.int64]:
    if options.rows is None:
        return spread_rows(data, options.num, options.seed)
    for row in options.rows:
        if not 0 <= row < len(data):
            raise OptionError(
                f"rows of a preview of {data.name} must be in [0, {len(data)}), got {row}: "
                "name other --rows"
            )
    return np.array(options.rows, np.int64)


def _probabilities(
    data: ImageData, generation: Generation, rows_B: NDArray[np.int64], cache: str
) -> NDArray[np.float32]:
    """Return the network's probability of each sample's label, (B,) float32."""
    places_B = match_rows(
        generation.sample_ids,
        generation.content_ids,
        data.sample_ids[rows_B],
        data.content_ids[rows_B],
        place=cache,
        cure="use the data set it was made for",
    )
    return generation.probabilities[places_B]


def _file_name(description: str) -> str:
    """Return what tells images apart: the last part of a path, or as in `shapes[17]`."""
    return Path(description).name or description


def _title(data: ImageData, generation: Generation) -> tuple[str, str]:
    """Return what the picture is of, and what made the maps."""
    made = generation.provenance
    height, width = generation.manifest.plan.map_shape
    epoch = "" if made.epoch is None else f", after epoch {made.epoch}"
    return (
        f"{data.name} · generation {generation.number} · {generation.digest[:12]}",
        f"{made.method} of {made.network}, layer {made.target_layer}, weights {made.weights} "
        f"{made.weights_digest[:12]}{epoch} · images squashed to {made.size} by {made.size}, "
        f"maps {height} by {width}",
    )


def checked_picture_path(path: Path) -> Path:
    """Return the path of a PNG file that can be made, or raise OptionError."""
    if path.suffix.lower() != ".png":
        raise OptionError(f"out of a preview must end in .png, got {path}: write {path.stem}.png")
    if not path.parent.is_dir():
        raise OptionError(
            f"out of a preview must lie in a folder that is there, got {path}: "
            f"make {path.parent} first"
        )
    if path.is_dir():
        raise OptionError(f"out of a preview must be a file, got the folder {path}: add a name")
    return path


def write_picture(path: Path, content: bytes) -> None:
    """Write a picture whole or not at all, or raise OptionError."""
    try:
        write_whole(path, content, fsync=False)
    except OSError as error:
        raise OptionError(
            f"can't write preview {path}: {error.strerror}; choose another --out"
        ) from error
