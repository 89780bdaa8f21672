"""`scae cache diff --out`: how far two generations lie apart, and the samples that moved most.

Legend: B samples shown, S side of an image in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache_store.generation import Generation
from loaders.decode import read_resized
from loaders.gains import exact_gains
from loaders.image_data import ImageData
from loaders.map_source import MapBatch
from pipeline.pictures.diff_figure import diff_figure
from pipeline.pictures.diff_page import diff_page
from pipeline.pictures.diff_sample import DiffWords, MovedSample
from pipeline.pictures.drawn import dense_saliency
from pipeline.pictures.marks import figure_png
from pipeline.pictures.picture_file import checked_picture_path, is_page, write_picture
from pipeline.refresh.compare import MapComparison
from pipeline.refresh.map_sample import read_maps

WHAT = "diff"
"""What messages call the picture."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class DiffSamples:
    """The samples of a comparison that differ most, in a data set that may hold them."""

    data: ImageData
    """The data set."""
    rows: Sequence[int | None]
    """Row of each sample in it, None for one that it does not hold."""


def checked_diff_path(out: str | Path) -> Path:
    """Return the path of a picture that can be made, or raise OptionError."""
    return checked_picture_path(Path(out), WHAT)


def write_diff(
    out: str | Path,
    found: MapComparison,
    sides: tuple[Generation, Generation],
    *,
    names: tuple[str, str],
    facts: Sequence[tuple[str, str]],
    samples: DiffSamples | None,
) -> None:
    """Draw a comparison into a PNG or HTML file, whole or not at all.

    Args:
        out: The file; replaced if it is there. Its ending, .png or .html, says what it is to be.
        found: The comparison.
        sides: The two generations.
        names: What to call them.
        facts: What was found: names and texts.
        samples: Where names and images come from; None: samples are named by id, with maps alone.

    Raises:
        OptionError: If the file can't be made.
        DamagedCacheError: If an object of either generation is missing or has changed.
        ImageReadError: If an image can't be decoded.
    """
    path = checked_diff_path(out)
    moved = _moved_samples(found, sides, samples)
    both = [
        (letter, f"{name}: generation {side.number} ({side.digest[:12]})")
        for letter, name, side in zip("AB", names, sides, strict=True)
    ]
    words = DiffWords(title=f"How the maps of {_name(sides)} moved", facts=(*both, *facts))
    if is_page(path):
        write_picture(path, diff_page(found, moved, words), WHAT)
    else:
        write_picture(path, figure_png(diff_figure(found, moved, words)), WHAT)


def _name(sides: tuple[Generation, Generation]) -> str:
    first, second = (side.provenance.data for side in sides)
    return first if first == second else f"{first} and {second}"


def _moved_samples(
    found: MapComparison, sides: tuple[Generation, Generation], samples: DiffSamples | None
) -> list[MovedSample]:
    if not found.worst:
        return []
    rows = [[one.first_row for one in found.worst], [one.second_row for one in found.worst]]
    saliency = [_saliency(side, own, found.size) for side, own in zip(sides, rows, strict=True)]
    images = _images(samples, found.size)
    return [
        MovedSample(
            difference=one,
            name=None if samples is None else _sample_name(samples, place),
            image=images.get(place),
            first=saliency[0][place],
            second=saliency[1][place],
        )
        for place, one in enumerate(found.worst)
    ]


def _saliency(generation: Generation, rows: list[int], size: int) -> NDArray[np.float64]:
    """Return A_hat of some rows, (B, S, S) float64 in [0, 1]."""
    maps_Bhw = read_maps(generation, np.array(rows))
    return dense_saliency(MapBatch(maps_Bhw, *exact_gains(maps_Bhw, (size, size))), size)


def _images(samples: DiffSamples | None, size: int) -> dict[int, NDArray[np.uint8]]:
    """Return the images that there are, (S, S, 3) uint8 RGB, by the sample's place."""
    if samples is None:
        return {}
    known = {place: row for place, row in enumerate(samples.rows) if row is not None}
    if not known:
        return {}
    rows_B = np.array(list(known.values()), np.int64)
    images_BSS3 = read_resized(samples.data, rows_B, size).permute(0, 2, 3, 1).numpy()
    return dict(zip(known, images_BSS3, strict=True))


def _sample_name(samples: DiffSamples, place: int) -> str | None:
    """Return class and file of a sample."""
    row = samples.rows[place]
    if row is None:
        return None
    label = samples.data.class_names[samples.data.labels[row]]
    return f"{label} · {Path(samples.data.describe(row)).name}"
