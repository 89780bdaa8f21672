"""Does saliency find the object? Measured where true object masks are known.

Legend: N samples, h, w height and width of a map, H, W of an image.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray

Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SaliencyQuality:
    """How well maps sit on the objects."""

    pointing: float
    """Share of samples whose most salient pixel lies on the object (pointing game)."""
    lower: float
    """Lower end of its 95 % Wilson interval."""
    upper: float
    """Upper end of its 95 % Wilson interval."""
    chance: float
    """Mean share of the image that the object covers: what a random pixel would score."""
    energy: float
    """Mean share of a map's sum that lies on the object."""
    num_samples: int
    """Samples with a map that is not flat."""


def saliency_quality(
    maps_Nhw: NDArray[np.uint8], masks_NHW: NDArray[np.bool_]
) -> SaliencyQuality | None:
    """Compare maps with true object masks; flat maps and empty masks are left out.

    Args:
        maps_Nhw: (N, h, w) uint8.
        masks_NHW: (N, H, W) bool, True on the object.

    Returns:
        The figures, None if no sample can be judged.
    """
    usable_N = (maps_Nhw.max((1, 2)) > 0) & masks_NHW.any((1, 2))
    if not usable_N.any():
        return None
    masks_MHW = masks_NHW[usable_N]
    maps = torch.from_numpy(np.ascontiguousarray(maps_Nhw[usable_N])).float()
    height, width = masks_MHW.shape[1:]
    upsampled = torch.nn.functional.interpolate(
        maps[:, None], (height, width), mode="bilinear", align_corners=False
    )
    saliency_MP = upsampled.flatten(1).numpy()
    masks_MP = masks_MHW.reshape(len(masks_MHW), -1)
    hits = int(masks_MP[np.arange(len(masks_MP)), saliency_MP.argmax(1)].sum())
    lower, upper = wilson_interval(hits, len(masks_MP))
    return SaliencyQuality(
        pointing=hits / len(masks_MP),
        lower=lower,
        upper=upper,
        chance=float(masks_MP.mean()),
        energy=float(((saliency_MP * masks_MP).sum(1) / saliency_MP.sum(1)).mean()),
        num_samples=len(masks_MP),
    )


def wilson_interval(hits: int, trials: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share."""
    share, z2 = hits / trials, Z_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return centre - half, centre + half


def map_entropies(maps_Nhw: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return how evenly each map spreads over its cells, 0 = one cell, 1 = all alike.

    Shannon's entropy of the map divided by its sum, over the logarithm of the number of cells.

    Args:
        maps_Nhw: (N, h, w) uint8.

    Returns:
        (N,) float64 in [0, 1], NaN for a flat map (all cells equal).
    """
    cells_NC = maps_Nhw.reshape(len(maps_Nhw), -1).astype(np.float64)
    flat_N = cells_NC.max(1) == cells_NC.min(1)
    shares_NC = cells_NC[~flat_N] / cells_NC[~flat_N].sum(1, keepdims=True)
    logs_NC = np.log(shares_NC, out=np.zeros_like(shares_NC), where=shares_NC > 0)
    entropies_N = np.full(len(maps_Nhw), np.nan)
    entropies_N[~flat_N] = -(shares_NC * logs_NC).sum(1) / np.log(max(cells_NC.shape[1], 2))
    return entropies_N
