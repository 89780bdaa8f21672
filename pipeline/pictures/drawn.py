"""What the loader would draw on whole images: the ground of the preview and of the report.

Legend: B samples, M rectangles of a sample, H, W (equal here, then S) sides of an image, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loaders.centres import sample_centres
from loaders.erasing import centred_boxes, sample_sides
from loaders.image_data import ImageData
from loaders.lookup import SaliencyField
from loaders.map_source import MapBatch
from loaders.policy import ScaePolicy
from loaders.randomness import KeyedStream
from loaders.view_batch import ViewBatch


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Drawn:
    """Rectangles of a batch."""

    centres: NDArray[np.int64]
    """(B, M, 2) int64 rows (y, x)."""
    boxes: NDArray[np.int64]
    """(B, M, 4) int64 rows (y0, x0, y1, x1), half open, inside the image."""


def draw_rectangles(
    maps: MapBatch,
    indices: NDArray[np.int64],
    size: int,
    lam: float,
    *,
    num: int,
    seed: int,
    epoch: int = 0,
    policy: ScaePolicy | None = None,
) -> Drawn:
    """Draw `num` rectangles a sample on the whole image, by the loader's own code and keys.

    Rectangle m is the one that training draws for the sample's appearance m of this epoch, except
    that there the image has been cropped and flipped before.

    Args:
        maps: Maps of B samples.
        indices: (B,) int64 rows of the data set, the keys of the random numbers.
        size: Side of the whole image in pixels.
        lam: Guidance strength of Eq. 4.
        num: M.
        seed: The run's seed.
        epoch: 0-based epoch.
        policy: Gives the law of the sides and the border; None takes the defaults.
    """
    canvas = (size, size)
    rows_Q = np.repeat(np.arange(len(indices)), num)
    draws_Q = np.tile(np.arange(num), len(indices))

    def stream(purpose: str) -> KeyedStream:
        return KeyedStream(seed, epoch, indices[rows_Q], draws_Q, purpose)

    centres_Q2 = sample_centres(
        maps.maps[rows_Q],
        canvas,
        lam,
        stream("centre"),
        gains=maps.gains[rows_Q],
        floors=maps.floors[rows_Q],
    )
    law = policy or ScaePolicy(num_epochs=1, class_counts=(1,))
    heights_Q, widths_Q = sample_sides(
        len(rows_Q),
        canvas,
        stream("sides"),
        area=law.area,
        aspect=law.aspect,
        aspect_law=law.aspect_law,
    )
    boxes_Q4 = centred_boxes(centres_Q2, heights_Q, widths_Q, canvas, border=law.border)
    return Drawn(
        centres=centres_Q2.reshape(len(indices), num, 2),
        boxes=boxes_Q4.reshape(len(indices), num, 4),
    )


def dense_saliency(maps: MapBatch, size: int) -> NDArray[np.float64]:
    """Return A_hat at every pixel as the sampler sees it: (B, size, size) float64 in [0, 1]."""
    views = ViewBatch.whole(len(maps.maps), (size, size))
    return SaliencyField.build(maps.maps, maps.gains, maps.floors, views).dense()


def density(saliency: NDArray[np.float64], lam: float) -> NDArray[np.float64]:
    """Return P(i, j) of Eq. 4 over the pixels of one image, as a multiple of the uniform density.

    Args:
        saliency: (H, W) float64 in [0, 1].
        lam: Guidance strength.

    Returns:
        (H, W) float64 of mean 1.
    """
    weights_HW = np.exp(lam * saliency - max(lam, 0.0))
    return weights_HW / weights_HW.mean()


def pixels_seen(
    inputs: NDArray[np.floating], mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.uint8]:
    """Undo the normalisation of what a network gets.

    Args:
        inputs: (B, 3, S, S) floating, normalised.
        mean: Of each channel, or one for all, as shares of 255.
        std: Of each channel, or one for all, as shares of 255.

    Returns:
        (B, S, S, 3) uint8 RGB.
    """
    shares_BSS3 = inputs.transpose(0, 2, 3, 1) * np.array(std) + np.array(mean)
    return np.rint(np.clip(shares_BSS3, 0, 1) * 255).astype(np.uint8)


def spread_rows(
    data: ImageData, num: int, seed: int, *, labels: Sequence[int] | None = None
) -> NDArray[np.int64]:
    """Choose samples from head to tail: (min(num, N),) int64 rows, the largest class first.

    The classes, ordered by their number of images, are cut into `num` bands; each band gives a
    random class, and that a random sample. With fewer classes than `num`, classes repeat.

    Args:
        data: The data set.
        num: How many samples at most.
        seed: Decides which.
        labels: Classes to choose from, None for all.
    """
    rng = np.random.default_rng(seed)
    counts_K = data.class_counts
    if labels is not None:
        counts_K = np.where(np.isin(np.arange(data.num_classes), labels), counts_K, 0)
    num = min(num, int(counts_K.sum()))
    present_K = np.flatnonzero(counts_K)
    ordered_K = present_K[np.argsort(-data.class_counts[present_K], kind="stable")]
    pools: dict[int, list[int]] = {}

    def pool(label: int) -> list[int]:
        """Return what is left of a class, in random order."""
        if label not in pools:
            pools[label] = rng.permutation(np.flatnonzero(data.labels == label)).tolist()
        return pools[label]

    bands = [
        rng.permutation(band).tolist()
        for band in np.array_split(ordered_K, min(num, len(ordered_K)))
    ]
    chosen: list[int] = []
    while len(chosen) < num:
        for band in bands:
            label = next((label for label in band if pool(label)), None)
            if label is not None and len(chosen) < num:
                chosen.append(pool(label).pop())
    order = np.argsort(-data.class_counts[data.labels[chosen]], kind="stable")
    return np.array(chosen, np.int64)[order]
