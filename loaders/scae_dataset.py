"""A data set that delivers whole batches, augmented by SCAE or by another method."""

import logging
import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from loaders.batches import NO_GENERATION, Batch, BatchKey
from loaders.errors import GeometryError, OptionError
from loaders.image_data import ImageData
from loaders.map_source import MapSource
from loaders.map_style_data import MapStyle, MapStyleData
from loaders.methods.draft import Draft, Sources
from loaders.methods.method import Method
from loaders.methods.scae import Scae
from loaders.partners import PartnerTable
from loaders.policy import ScaePolicy
from loaders.randomness import KeyedStream
from loaders.transforms import Transform

logger = logging.getLogger("scae")


class ScaeDataset(Dataset[tuple[Tensor, Tensor]]):
    """A data set whose images are erased where the cached maps say the object is.

    For your own `DataLoader`: call `set_epoch` before each epoch; workers, persistent ones too,
    see the change. `build_loader` does all of it.

    Args:
        base: An `ImageData`, or any map-style data set of (image, label).
        cache: Path or URL of the cache; None erases with uniform centres.
        policy: SCAE's options (when to erase, when to mix, how strongly saliency guides), or
            another method, see `loaders.methods`; None changes nothing.
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
        OptionError: If the method needs maps and no cache is named.
        GeometryError: If the transform does not carry the view along.
    """

    def __init__(
        self,
        base: ImageData | MapStyle,
        cache: str | Path | None,
        policy: ScaePolicy | Method | None,
        transform: Transform,
        *,
        seed: int = 0,
        generation: int | None = None,
        accept_stale: bool = False,
        lease: bool = False,
    ) -> None:
        _check_transform(transform)
        data = base if isinstance(base, ImageData) else MapStyleData(base)
        self.data = data.accepting_changes() if accept_stale else data
        self.method = Scae(policy) if isinstance(policy, ScaePolicy) else policy
        if self.method is not None:
            self.method.check_data(self.data)
        if self.method is not None and self.method.needs_maps and cache is None:
            raise OptionError(
                "this method takes its places from saliency maps and there is no cache: name one, "
                "or choose another source of saliency"
            )
        self.maps = MapSource(
            self.data, cache, transform.size, accept_stale=accept_stale, lease=lease
        )
        self._sources = Sources(
            data=self.data,
            maps=self.maps,
            transform=transform,
            partners=PartnerTable(self.data.labels, self.data.num_classes),
            seed=seed,
        )
        self._wants_neighbours = isinstance(policy, ScaePolicy) and policy.partner == "neighbor"
        self._warned_of = NO_GENERATION
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
            OptionError: If the method has no such epoch.
        """
        if self.method is not None:
            self.method.guidance(epoch)
        if generation is None:
            generation = self.maps.check_latest()
        else:
            self.maps.check(generation)
        self._warn_without_neighbours(generation)
        self._now[0], self._now[1] = epoch, generation
        return generation

    def _warn_without_neighbours(self, generation: int) -> None:
        if not self._wants_neighbours or generation in (NO_GENERATION, self._warned_of):
            return
        if (self.maps.class_neighbours(generation) < 0).all():
            self._warned_of = generation
            logger.warning(
                "generation %d has no class neighbours: MixUp partners come from the own class",
                generation,
            )

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
            # A plain loader does not tell: methods that mix a whole batch need some number of it.
            step=int(rows[0]) if len(rows) else 0,
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
        stream = KeyedStream(self._sources.seed, key.epoch, key.indices, key.draws, "geometry")
        images, views = self._sources.transform.load(self.data, key.indices, stream)
        draft = Draft(self._sources, key, images, views)
        begun = time.thread_time()
        if self.method is not None:
            self.method.apply(draft)
        return draft.batch(time.thread_time() - begun)


def _check_transform(transform: object) -> None:
    """Raise GeometryError for a pipeline that does not carry the view: a likely first try."""
    if not hasattr(transform, "load"):
        raise GeometryError(
            f"transform must carry the saliency view along, got {type(transform).__name__}: wrap a "
            "torchvision.transforms.v2 pipeline as build_transform(pipeline, size=224), or use "
            "StandardTransform"
        )
