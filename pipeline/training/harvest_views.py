"""A rank's harvest of an epoch: from the maps of its steps to cells of whole images.

Legend: B samples of a batch, V views that are of use, y, x cells of a view's map, h, w cells of the
whole image, S side of a view in pixels.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loaders.batches import Batch
from loaders.canonical import to_canonical
from loaders.policy import Event
from loaders.view_batch import ViewBatch
from pipeline.training.harvest_merge import LEVELS, SeenViews
from pipeline.training.harvest_recipe import HarvestRecipe

PROBES = 4
"""Places a side by which a view is compared with the whole image."""
TOGETHER = 1024
"""Views that are taken back to their images at once: a batch alone is mostly calls."""


@dataclass(frozen=True, eq=False, slots=True)
class _OnItsWay:
    """A step's maps, which may still be travelling from a GPU."""

    batch: Batch
    maps: Tensor
    probability: Tensor
    arrived: "torch.cuda.Event | None"


class HarvestedViews:
    """Collects what a rank's steps have seen in one epoch.

    Args:
        shape: (h, w) of the maps of whole images.
        recipe: How much the views count.
    """

    def __init__(self, shape: tuple[int, int], recipe: HarvestRecipe) -> None:
        self._shape, self._recipe = shape, recipe
        self._parts: list[SeenViews] = []
        self._waiting: list[_OnItsWay] = []

    def add(self, batch: Batch, maps: Tensor, probability: Tensor) -> None:
        """Take a step's maps, which are worked off some steps later, when they have arrived.

        Args:
            batch: The step's batch as the loader delivered it.
            maps: (B, y, x) float32 >= 0 on any device.
            probability: (B,) float32 of the label.
        """
        arrived = None
        if maps.device.type == "cuda":
            maps, probability = _to_host(maps), _to_host(probability)
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record()
        nothing = torch.empty(0)
        light = replace(batch, images=nothing, labels=nothing, originals=None)
        self._waiting.append(_OnItsWay(light, maps, probability, arrived))
        if sum(len(one.maps) for one in self._waiting) >= TOGETHER:
            self._settle()

    def seen(self) -> SeenViews:
        """Return all that was seen, by row and draw."""
        self._settle()
        self._parts = [SeenViews.joined([SeenViews.none(self._shape), *self._parts])]
        return self._parts[0]

    def clear(self) -> None:
        """Begin another epoch."""
        self._parts, self._waiting = [], []

    def take_over(self, seen: SeenViews) -> None:
        """Go on with what was seen before this process began."""
        self._parts = [seen]

    def _settle(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        for one in waiting:
            if one.arrived is not None:
                one.arrived.synchronize()
        maps_Byx = np.concatenate([one.maps.numpy() for one in waiting])
        useful = [usable(one.batch, maps_Byx.shape[1:]) for one in waiting]
        starts = np.cumsum([0, *(len(one.maps) for one in waiting)])
        useful_V = np.concatenate(
            [start + places for start, (places, _) in zip(starts, useful, strict=False)]
        )
        weights_Vyx = np.concatenate([weights for _, weights in useful])
        events_B = np.concatenate([one.batch.events.numpy() for one in waiting])
        weights_Vyx[events_B[useful_V] == Event.ERASE] *= self._recipe.erased
        views = ViewBatch.joined([one.batch.views for one in waiting]).take(useful_V)
        flips_V, distances_V = departures(views, self._shape)
        weights_V = self._recipe.mirrored**flips_V * self._recipe.displaced**distances_V
        weights_Vyx *= weights_V[:, None, None]
        found = to_canonical(maps_Byx[useful_V], weights_Vyx, views, self._shape)
        highest_V11 = found.values.max(axis=(1, 2), keepdims=True, initial=0)
        scale_V11 = np.divide(
            LEVELS, highest_V11, out=np.zeros_like(highest_V11), where=highest_V11 > 0
        )

        def column(name: str) -> NDArray[np.int64]:
            values: NDArray[np.int64] = np.concatenate(
                [getattr(one.batch, name).numpy() for one in waiting]
            )
            return values[useful_V]

        probability_B = np.concatenate([one.probability.numpy() for one in waiting])
        self._parts.append(
            SeenViews(
                rows=column("indices"),
                draws=column("draws"),
                values=np.rint(found.values * scale_V11).astype(np.uint8),
                weights=np.rint(found.coverage * LEVELS).clip(0, LEVELS).astype(np.uint8),
                probability=probability_B[useful_V],
            )
        )


def usable(batch: Batch, shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return which views of a batch show their own image, and where.

    Left out are mixed and pasted images, those whose look was changed by more than a rectangle, and
    maps of other rectangles than the one that is told.

    Args:
        batch: The batch.
        shape: (y, x) of the views' maps.

    Returns:
        (V,) int64 places in the batch; (V, y, x) float64 in [0, 1], share of each cell that is not
        under a rectangle.
    """
    events_B, boxes_B4 = batch.events.numpy(), batch.boxes.numpy()
    areas_B = (boxes_B4[:, 2:] - boxes_B4[:, :2]).prod(axis=1)
    told_B = (events_B == Event.ERASE) & (areas_B == batch.erased.numpy())
    useful_V = np.flatnonzero((events_B == Event.NONE) | told_B)
    boxes_V4 = np.where(told_B[:, None], boxes_B4, 0)[useful_V]
    height, width = batch.views.size
    rows_Vy = _covered(boxes_V4[:, 0], boxes_V4[:, 2], height, shape[0])
    columns_Vx = _covered(boxes_V4[:, 1], boxes_V4[:, 3], width, shape[1])
    return useful_V, 1 - rows_Vy[:, :, None] * columns_Vx[:, None, :]


def departures(
    views: ViewBatch, shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return how far views are from showing the whole image as it is.

    Args:
        views: V views.
        shape: (h, w) of the whole image's cells.

    Returns:
        (V,) int64, axes that are mirrored, 0 to 2; (V,) float64, how many cells the places of the
        view's pixels lie from those of the whole image, mirrored alike: the mean of the sum over
        both axes.
    """
    (height, width), along = views.size, (np.arange(PROBES) + 0.5) / PROBES
    x_Q, y_Q = (grid.reshape(-1) for grid in np.meshgrid(along, along))
    places_Q3 = np.stack([x_Q * width, y_Q * height, np.ones(PROBES**2)], axis=1)
    u_VQ, v_VQ, scale_VQ = (views.matrices @ places_Q3.T).transpose(1, 0, 2)
    scale_VQ = np.maximum(scale_VQ, 1e-6)  # beyond the horizon: far away, whatever it is
    flips_V, distances_V = np.zeros(len(views), np.int64), np.zeros(len(views))
    for place_VQ, whole_Q, cells in ((u_VQ, x_Q, shape[1]), (v_VQ, y_Q, shape[0])):
        found_VQ = place_VQ / scale_VQ
        off_2V = np.stack([np.abs(found_VQ - own_Q).mean(1) for own_Q in (whole_Q, 1 - whole_Q)])
        flips_V += off_2V.argmin(axis=0)
        distances_V += off_2V.min(axis=0) * cells
    return flips_V, distances_V


def _covered(
    first_V: NDArray[np.int64], last_V: NDArray[np.int64], side: int, num: int
) -> NDArray[np.float64]:
    """Return the share of each of `num` cells of an axis between two pixels: (V, num)."""
    edges = np.arange(num + 1) * (side / num)
    shared_Vc = np.minimum(last_V[:, None], edges[1:]) - np.maximum(first_V[:, None], edges[:-1])
    shares_Vc: NDArray[np.float64] = np.maximum(shared_Vc, 0) * (num / side)
    return shares_Vc


def _to_host(tensor: Tensor) -> Tensor:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)
