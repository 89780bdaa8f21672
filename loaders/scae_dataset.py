"""SCAE as a data set: decide, fetch, draw centres, erase and mix a batch at a time (Eq. 1 to 8).

Legend: B samples of a batch, M samples to be mixed, E samples to be erased, K classes, S side.
"""

import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from loaders.batches import NO_GENERATION, Batch, BatchKey
from loaders.centres import sample_centres
from loaders.erasing import centred_boxes, erase_rectangles, sample_sides
from loaders.image_data import ImageData
from loaders.lookup import look_up
from loaders.map_source import MapBatch, MapSource
from loaders.map_style_data import MapStyle, MapStyleData
from loaders.partners import PartnerTable
from loaders.policy import Event, ScaePolicy
from loaders.randomness import KeyedStream
from loaders.transforms import Transform
from loaders.view_batch import ViewBatch


class ScaeDataset(Dataset[tuple[Tensor, Tensor]]):
    """A data set whose images are erased where the cached maps say the object is.

    For your own `DataLoader`: call `set_epoch` before each epoch; workers, persistent ones too,
    see the change. `build_loader` does all of it.

    Args:
        base: An `ImageData`, or any map-style data set of (image, label).
        cache: Path or URL of the cache; None erases with uniform centres.
        policy: When to erase, when to mix, how strongly saliency guides; None changes nothing.
        transform: From whole images to the network's input, see `loaders.transforms` and
            `build_transform`.
        seed: The run's seed; with epoch and index it decides everything random.
        generation: Generation to begin with; 0 for none yet, None for the newest.
        accept_stale: Use the maps of images that have changed since, and say so in the log.
        lease: Whether this process keeps the generation in use from being collected; one process
            a job is enough. Call `maps.renew_lease()` as batches pass.

    Raises:
        CacheNotFoundError: If a cache is named and there is none, or nothing in it.
        CacheMismatchError: If the cache was made for other data.
    """

    def __init__(
        self,
        base: ImageData | MapStyle,
        cache: str | Path | None,
        policy: ScaePolicy | None,
        transform: Transform,
        *,
        seed: int = 0,
        generation: int | None = None,
        accept_stale: bool = False,
        lease: bool = False,
    ) -> None:
        self.data = base if isinstance(base, ImageData) else MapStyleData(base)
        self.policy = policy
        self.maps = MapSource(
            self.data, cache, transform.size, accept_stale=accept_stale, lease=lease
        )
        self._transform = transform
        self._seed = seed
        self._partners = PartnerTable(self.data.labels, self.data.num_classes)
        # Shared with workers: what a plain DataLoader, which sends bare indices, can't tell them.
        self._now = multiprocessing.RawArray("q", [0, NO_GENERATION])
        self.set_epoch(0, generation)

    def __len__(self) -> int:
        return len(self.data)

    @property
    def now(self) -> tuple[int, int]:
        """Epoch and generation that a plain `DataLoader` is served."""
        return self._now[0], self._now[1]

    def set_epoch(self, epoch: int, generation: int | None = None) -> int:
        """Choose epoch and generation for all workers, and check that the cache fits the data.

        Args:
            epoch: 0-based epoch t.
            generation: Generation to read maps from; 0 for none; None is the newest.

        Returns:
            The generation's number, 0 for none.

        Raises:
            CacheMismatchError: If the cache was made for other data.
            CacheNotFoundError: If there is no such generation.
            OptionError: If the policy has no such epoch.
        """
        if self.policy is not None:
            self.policy.lam(epoch)
        if generation is None:
            generation = self.maps.check_latest()
        else:
            self.maps.check(generation)
        self._now[0], self._now[1] = epoch, generation
        return generation

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one image (3, S, S) float32 and its label."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Return images and labels of one batch (a `DataLoader` calls this)."""
        rows = np.asarray(indices, np.int64)
        epoch, generation = self.now
        key = BatchKey(
            epoch=epoch,
            generation=generation,
            step=0,
            indices=rows,
            draws=np.zeros(len(rows), np.int64),
        )
        batch = self.batch(key)
        return list(zip(batch.images, batch.labels, strict=True))

    def batch(self, key: BatchKey) -> Batch:
        """Return the batch of a key; equal keys give equal bytes, in any process.

        Raises:
            ImageReadError: If an image can't be decoded.
            DamagedCacheError: If the cache's bytes are not what was published.
        """
        every_B = np.arange(len(key.indices))
        images, views = self._transform.load(
            self.data, key.indices, self._stream(key, every_B, "geometry")
        )
        labels_B = self.data.labels[key.indices]
        boxes_B4 = np.zeros((len(every_B), 4), np.int64)
        unguided_B = np.zeros(len(every_B), np.bool_)
        saliency_B = np.full(len(every_B), np.nan, np.float32)
        events_B = np.zeros(len(every_B), np.uint8)
        labels: Tensor = torch.from_numpy(labels_B)
        if self.policy is not None:
            events_B = self.policy.decide(labels_B, self._stream(key, every_B, "event"))
            erased_E = np.flatnonzero(events_B == Event.ERASE)
            maps = self.maps.fetch(key.generation, key.indices[erased_E])
            unguided_B[erased_E] = maps.gains == 0
            boxes_B4[erased_E], saliency_B[erased_E] = self._boxes(
                key, erased_E, maps, views.take(erased_E)
            )
            erase_rectangles(images, boxes_B4, self.policy.fill)
            labels = self._mix(key, np.flatnonzero(events_B == Event.MIXUP), images, labels)
        return Batch(
            images=images,
            labels=labels,
            indices=torch.from_numpy(key.indices),
            events=torch.from_numpy(events_B),
            boxes=torch.from_numpy(boxes_B4),
            unguided=torch.from_numpy(unguided_B),
            saliency=torch.from_numpy(saliency_B),
        )

    def _boxes(
        self, key: BatchKey, slots_E: NDArray[np.int64], maps: MapBatch, views: ViewBatch
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Draw rectangles: centres by Eq. 4, sides as Random Erasing does.

        Returns:
            (E, 4) int64 boxes; (E,) float32 A_hat at their centres, nan for a flat or missing map.
        """
        policy = self.policy
        if policy is None or len(slots_E) == 0:
            return np.zeros((0, 4), np.int64), np.zeros(0, np.float32)
        size = (self._transform.size, self._transform.size)
        centres_E2 = sample_centres(
            maps.maps,
            size,
            policy.lam(key.epoch),
            self._stream(key, slots_E, "centre"),
            gains=maps.gains,
            floors=maps.floors,
            views=views,
        )
        heights_E, widths_E = sample_sides(
            len(slots_E),
            size,
            self._stream(key, slots_E, "sides"),
            area=policy.area,
            aspect=policy.aspect,
            aspect_law=policy.aspect_law,
        )
        y_E1, x_E1 = centres_E2[:, :1], centres_E2[:, 1:]
        saliency_E = look_up(maps.maps, maps.gains, maps.floors, views, y_E1, x_E1)[:, 0]
        saliency_E[maps.gains == 0] = np.nan
        boxes_E4 = centred_boxes(centres_E2, heights_E, widths_E, size, border=policy.border)
        return boxes_E4, saliency_E.astype(np.float32)

    def _mix(
        self, key: BatchKey, slots_M: NDArray[np.int64], images: Tensor, labels: Tensor
    ) -> Tensor:
        """Mix partners into some images in place (Eq. 8, upper case); return the labels."""
        policy = self.policy
        if policy is None:
            return labels
        soft = policy.partner == "neighbor"
        if soft:
            labels = torch.nn.functional.one_hot(labels, self.data.num_classes).float()
        if len(slots_M) == 0:
            return labels
        neighbours = None
        if soft and key.generation != NO_GENERATION:
            neighbours = self.maps.class_neighbours(key.generation)
        partners_M = self._partners.draw(
            key.indices[slots_M], self._stream(key, slots_M, "partner"), neighbours
        )
        others, _ = self._transform.load(
            self.data, partners_M, self._stream(key, slots_M, "partner-geometry")
        )
        ratio_M = policy.mixing_ratio(len(slots_M), self._stream(key, slots_M, "ratio"))
        mu = torch.from_numpy(ratio_M).float()[:, None, None, None]
        slots = torch.from_numpy(slots_M)
        images[slots] = mu * images[slots] + (1 - mu) * others
        if soft:
            classes = torch.from_numpy(self.data.labels[partners_M])
            other = torch.nn.functional.one_hot(classes, self.data.num_classes).float()
            labels[slots] = mu[:, :, 0, 0] * labels[slots] + (1 - mu[:, :, 0, 0]) * other
        return labels

    def _stream(self, key: BatchKey, slots: NDArray[np.int64], purpose: str) -> KeyedStream:
        """Return the streams of some of a batch's samples."""
        return KeyedStream(self._seed, key.epoch, key.indices[slots], key.draws[slots], purpose)
