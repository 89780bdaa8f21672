"""What a preview shows of one sample with one generation's map, however it is drawn.

Legend: B samples, S side of an image in pixels, M rectangles, C channels.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache_store.generation import Generation
from cache_store.provenance import Provenance
from cache_store.rows import match_rows
from loaders.decode import read_resized
from loaders.erasing import erase_rectangles
from loaders.image_data import ImageData
from loaders.map_source import MapBatch, MapSource
from loaders.policy import ErasingOptions
from pipeline.pictures.drawn import dense_saliency, density, draw_rectangles, pixels_seen

MOST_CONTRAST = 8.0
"""Multiples of the uniform density beyond which colours need not tell densities apart."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Strength:
    """What one lambda makes of a map."""

    lam: float
    """Guidance strength of Eq. 4."""
    density: NDArray[np.float64]
    """(S, S) float64, P(i, j) as a multiple of the uniform density."""
    mean_saliency: float
    """Expected A_hat at a centre, in [0, 1]."""
    boxes: NDArray[np.int64]
    """(M, 4) int64 rows (y0, x0, y1, x1), half open."""
    centres: NDArray[np.int64]
    """(M, 2) int64 rows (y, x)."""
    erased: NDArray[np.uint8]
    """(S, S, 3) uint8 RGB: the network's input without the first rectangle, not normalised."""

    @property
    def uniform(self) -> bool:
        """Whether every pixel is as likely as any other."""
        return bool(np.ptp(self.density) == 0)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Panel:
    """One sample with one generation's map."""

    row: int
    """Its row in the data set."""
    sample_id: int
    """Its id in the cache, unsigned 64-bit."""
    source: str
    """File name of the image, or what stands for it."""
    class_name: str
    """Name of its class."""
    generation: int
    """Number of the generation."""
    probability: float
    """What that generation's network thought of the class."""
    image: NDArray[np.uint8]
    """(S, S, 3) uint8 RGB."""
    saliency: NDArray[np.float64]
    """(S, S) float64, A_hat of Eq. 4 in [0, 1]."""
    flat: bool
    """Whether there is no map, so that centres are uniform."""
    strengths: tuple[Strength, ...]
    """One a lambda."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Shown:
    """Samples of a preview and how they are drawn."""

    rows: NDArray[np.int64]
    """(B,) int64 rows of the data set."""
    lambdas: tuple[float, ...]
    """Guidance strengths."""
    num_boxes: int
    """M."""
    seed: int
    """Where rectangles fall."""


def generation_panels(
    data: ImageData, generation: Generation, shown: Shown, *, size: int
) -> list[Panel]:
    """Return the panels of all samples with one generation's maps.

    Args:
        data: The data set that the cache was made for, or a subset of it.
        generation: Whose maps.
        shown: Which samples.
        size: S.

    Raises:
        CacheMismatchError: If the cache was made for other data.
        ImageReadError: If an image can't be decoded.
    """
    source = MapSource(data, generation.url, size)
    source.check(generation.number)
    maps = source.fetch(generation.number, shown.rows)
    images_BSS3 = read_resized(data, shown.rows, size).permute(0, 2, 3, 1).numpy()
    saliency_BSS = dense_saliency(maps, size)
    strengths_LB = [
        _strengths(maps, images_BSS3, saliency_BSS, lam, shown, generation.provenance)
        for lam in shown.lambdas
    ]
    probability_B = _probabilities(data, generation, shown.rows)
    return [
        Panel(
            row=int(row),
            sample_id=int(data.sample_ids[row]),
            source=_file_name(data.describe(int(row))),
            class_name=data.class_names[data.labels[row]],
            generation=generation.number,
            probability=float(probability_B[place]),
            image=images_BSS3[place],
            saliency=saliency_BSS[place],
            flat=bool(maps.gains[place] == 0),
            strengths=tuple(column[place] for column in strengths_LB),
        )
        for place, row in enumerate(shown.rows)
    ]


def density_limit(panels: list[Panel]) -> float:
    """Return how far the colours of all densities reach: a multiple of uniform, above 1."""
    ratios = [ends for panel in panels for one in panel.strengths for ends in _ends(one.density)]
    # Where nothing is likely, colours end: the peaks are to be told apart.
    highest = max(ratios)
    return max(1.1, highest, min(1 / max(min(ratios), 1e-9), MOST_CONTRAST))


def _ends(density_SS: NDArray[np.float64]) -> tuple[float, float]:
    return float(density_SS.min()), float(density_SS.max())


def _strengths(
    maps: MapBatch,
    images_BSS3: NDArray[np.uint8],
    saliency_BSS: NDArray[np.float64],
    lam: float,
    shown: Shown,
    made: Provenance,
) -> list[Strength]:
    """Return what a lambda makes of each sample's map."""
    size = images_BSS3.shape[1]
    num = max(shown.num_boxes, 1)  # one is erased even where none is drawn
    drawn = draw_rectangles(maps, shown.rows, size, lam, num=num, seed=shown.seed)
    erased_BSS3 = _erased(images_BSS3, drawn.boxes[:, 0], made)
    strengths = []
    for place, saliency_SS in enumerate(saliency_BSS):
        density_SS = density(saliency_SS, lam)
        strengths.append(
            Strength(
                lam=lam,
                density=density_SS,
                mean_saliency=float((density_SS * saliency_SS).mean()),
                boxes=drawn.boxes[place, : shown.num_boxes],
                centres=drawn.centres[place, : shown.num_boxes],
                erased=erased_BSS3[place],
            )
        )
    return strengths


def _erased(
    images_BSS3: NDArray[np.uint8], boxes_B4: NDArray[np.int64], made: Provenance
) -> NDArray[np.uint8]:
    """Normalise, erase by the loader's code and its default fill, and undo the normalising."""
    mean_C, std_C = np.array(made.mean, np.float32), np.array(made.std, np.float32)
    inputs_BSSC = (images_BSS3.astype(np.float32) / 255 - mean_C) / std_C
    inputs_BCSS = np.ascontiguousarray(inputs_BSSC.transpose(0, 3, 1, 2))
    erase_rectangles(inputs_BCSS, boxes_B4, ErasingOptions().fill)
    return pixels_seen(inputs_BCSS, made.mean, made.std)


def _probabilities(
    data: ImageData, generation: Generation, rows_B: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the network's probability of each sample's label, (B,) float32."""
    places_B = match_rows(
        generation.sample_ids,
        generation.content_ids,
        data.sample_ids[rows_B],
        data.content_ids[rows_B],
        place=generation.url,
        cure="use the data set it was made for",
    )
    return generation.probabilities[places_B]


def _file_name(description: str) -> str:
    """Return what tells images apart: the last part of a path, or as in `shapes[17]`."""
    return Path(description).name or description
