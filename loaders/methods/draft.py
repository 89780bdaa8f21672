"""A batch in the making: what a method edits, and what it may ask for.

Legend: B samples of a batch, M chosen samples, N samples of the data set, K classes, S side.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loaders.batches import Batch, BatchKey
from loaders.erasing import erase_rectangles
from loaders.image_data import ImageData
from loaders.lookup import SaliencyField
from loaders.map_source import MapBatch, MapSource
from loaders.partners import PartnerTable
from loaders.policy import Event
from loaders.randomness import KeyedStream
from loaders.transforms import Transform
from loaders.view_batch import ViewBatch

__all__ = ["Draft", "Sources", "mixed_labels"]


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Sources:
    """What a data set's batches are made from."""

    data: ImageData
    """Images and labels."""
    maps: MapSource
    """Saliency maps by generation."""
    transform: Transform
    """From whole images to the network's input."""
    partners: PartnerTable
    """The samples by class."""
    seed: int
    """The run's seed."""


class Draft:
    """One batch, fetched and normalised, before and after its method.

    Args:
        sources: What batches are made from.
        key: The batch's epoch, generation, step, indices and draws.
        images: (B, 3, S, S) float32, normalised; edited in place.
        views: Where the images' pixels come from.

    Attributes:
        classes: (B,) int64 class of each sample.
        labels: (B,) int64, or (B, K) float32 once something is mixed in.
        events: (B,) uint8 values of `loaders.policy.Event`.
        boxes: (B, 4) int64 rectangles (y0, x0, y1, x1), half open, that the event is about.
        erased: (B,) int64 number of erased pixels.
        unguided: (B,) bool, True where a place was drawn uniformly for lack of a map.
        saliency: (B,) float32 in [0, 1], A_hat at the rectangle's centre; nan where no map placed
            one.
        originals: (B, 3, S, S) float32 images as they were, where a later step wants them.
    """

    def __init__(self, sources: Sources, key: BatchKey, images: Tensor, views: ViewBatch) -> None:
        num = len(key.indices)
        self.sources, self.key, self.images, self.views = sources, key, images, views
        self.classes = sources.data.labels[key.indices]
        self.labels: Tensor = torch.from_numpy(self.classes)
        self.events = np.zeros(num, np.uint8)
        self.boxes = np.zeros((num, 4), np.int64)
        self.erased = np.zeros(num, np.int64)
        self.unguided = np.zeros(num, np.bool_)
        self.saliency = np.full(num, np.nan, np.float32)
        self.originals: Tensor | None = None
        self._stream = KeyedStream(sources.seed, key.epoch, key.indices, key.draws, "")

    def __len__(self) -> int:
        return len(self.key.indices)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the images in pixels."""
        return int(self.images.shape[2]), int(self.images.shape[3])

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return self.sources.data.num_classes

    def stream(self, purpose: str, slots: NDArray[np.int64] | None = None) -> KeyedStream:
        """Return one stream a sample, of all samples or of those at (M,) `slots`."""
        stream = self._stream.purposed(purpose)
        return stream if slots is None else stream.take(slots)

    def batch_stream(self, purpose: str) -> KeyedStream:
        """Return the one stream of the whole batch, keyed by (seed, epoch, step): a single row."""
        step, zero = np.array([self.key.step]), np.zeros(1, np.int64)
        return KeyedStream(self.sources.seed, self.key.epoch, step, zero, f"batch-{purpose}")

    def maps(self, slots: NDArray[np.int64]) -> MapBatch:
        """Return the maps of (M,) `slots`, flat ones before the first generation."""
        return self.sources.maps.fetch(self.key.generation, self.key.indices[slots])

    def saliency_field(self, slots: NDArray[np.int64]) -> SaliencyField:
        """Return A_hat of (M,) `slots` over their output pixels; flat maps are marked unguided."""
        found = self.maps(slots)
        self.unguided[slots] = found.gains == 0
        return SaliencyField.build(found.maps, found.gains, found.floors, self.views.take(slots))

    def erase(
        self,
        slots: NDArray[np.int64],
        boxes: NDArray[np.int64],
        fill: float | tuple[float, ...] = 0.0,
    ) -> None:
        """Erase one rectangle each, (M, 4) int64, of (M,) `slots` and record it."""
        self.events[slots] = Event.ERASE
        self.boxes[slots] = boxes
        self.erased[slots] = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        erased_B4 = np.zeros_like(self.boxes)
        erased_B4[slots] = boxes
        erase_rectangles(self.images, erased_B4, fill)

    def batch(self, seconds_method: float) -> Batch:
        """Return the batch as the training loop gets it.

        Args:
            seconds_method: Processor time that the method took.
        """
        return Batch(
            images=self.images,
            labels=self.labels,
            indices=torch.from_numpy(self.key.indices),
            draws=torch.from_numpy(self.key.draws),
            events=torch.from_numpy(self.events),
            boxes=torch.from_numpy(self.boxes),
            erased=torch.from_numpy(self.erased),
            unguided=torch.from_numpy(self.unguided),
            saliency=torch.from_numpy(self.saliency),
            views=self.views,
            originals=self.originals,
            seconds_method=seconds_method,
        )


def mixed_labels(
    own: NDArray[np.int64], other: NDArray[np.int64], share: NDArray[np.float64], num_classes: int
) -> Tensor:
    """Return soft labels share * own + (1 - share) * other: (B, K) float32, rows sum to 1.

    Args:
        own: (B,) int64 classes.
        other: (B,) int64 classes of what is mixed in.
        share: (B,) float64 in [0, 1], how much of the image is its own.
        num_classes: K.
    """
    share_B1 = torch.from_numpy(share).float()[:, None]
    own_BK, other_BK = (
        torch.nn.functional.one_hot(torch.from_numpy(classes), num_classes).float()
        for classes in (own, other)
    )
    return share_B1 * own_BK + (1 - share_B1) * other_BK
