"""One call from a data set to batches that are erased by its saliency maps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, Dataset

from cache_store.backend import is_object_url
from loaders.batches import Batch, BatchKey
from loaders.image_data import ImageData
from loaders.map_style_data import MapStyle
from loaders.policy import ScaePolicy
from loaders.samplers import EpochBatches
from loaders.scae_dataset import ScaeDataset
from loaders.transforms import Transform


class ScaeLoader:
    """Batches of one epoch after another; made by `build_loader`.

    Epoch and generation travel with every batch's key, so that any worker, on any rank, erases by
    the same maps with the same draws.
    """

    def __init__(
        self, dataset: ScaeDataset, batches: EpochBatches, loader: "DataLoader[Batch]"
    ) -> None:
        self.dataset = dataset
        self.batches = batches
        self._loader = loader

    def set_epoch(self, epoch: int, generation: int | None = None) -> int:
        """Choose what the next iteration delivers.

        Args:
            epoch: 0-based epoch t.
            generation: Generation to read maps from, 0 for none; None is the newest one.

        Returns:
            The generation's number, 0 for none.

        Raises:
            CacheMismatchError: If the cache was made for other data.
            OptionError: If the policy has no such epoch.
        """
        number = self.dataset.set_epoch(epoch, generation)
        self.batches.set_epoch(epoch, number)
        return number

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        return self._renewing(iter(self._loader))

    def _renewing(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self.dataset.maps.renew_lease()
            yield batch


class _ByKey(Dataset[Batch]):
    """What workers hold: takes a whole batch's key."""

    def __init__(self, dataset: ScaeDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, key: BatchKey) -> Batch:
        return self._dataset.batch(key)


def build_loader(
    data: ImageData | MapStyle,
    transform: Transform,
    *,
    cache: str | Path | None = None,
    policy: ScaePolicy | None = None,
    batch_size: int = 128,
    num_workers: int = 0,
    seed: int = 0,
    generation: int | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
    start_method: Literal["fork", "spawn", "forkserver"] | None = None,
    accept_stale: bool = False,
) -> ScaeLoader:
    """Make the training loader.

    Rank 0 holds a lease on the generation in use, so that no collection takes it away.

    Args:
        data: An `ImageData` (from `open_data`), or any map-style data set of (image, label).
        transform: From whole images to the network's input.
        cache: Path or URL of the cache; None erases with uniform centres.
        policy: SCAE's options; None loads images without erasing.
        batch_size: Samples a batch of this process.
        num_workers: Worker processes; 0 loads in this one. The batches are the same.
        seed: The run's seed.
        generation: Generation to begin with; 0 for none yet, None for the newest.
        shuffle: False keeps the data set's order.
        drop_last: Leave out a last batch that is not full.
        rank: This process among `world_size`.
        world_size: Processes that share an epoch.
        pin_memory: Put batches into pinned memory, for GPUs.
        start_method: How workers start; None is PyTorch's choice, forkserver for object stores.
        accept_stale: Use the maps of images that have changed since, and say so in the log.

    Raises:
        CacheMismatchError: If the cache was made for other data.
        CacheNotFoundError: If a cache is named and there is none, or nothing in it.
        OptionError: If an option is outside its range.
    """
    if start_method is None and cache is not None and is_object_url(str(cache)):
        start_method = "forkserver"  # a forked child of an object store's client hangs
    dataset = ScaeDataset(
        data,
        cache,
        policy,
        transform,
        seed=seed,
        generation=generation,
        accept_stale=accept_stale,
        lease=rank == 0,
    )
    batches = EpochBatches(
        len(dataset),
        batch_size,
        seed=seed,
        shuffle=shuffle,
        drop_last=drop_last,
        rank=rank,
        world_size=world_size,
    )
    loader: DataLoader[Batch] = DataLoader(
        _ByKey(dataset),
        batch_size=None,
        sampler=batches,
        num_workers=num_workers,
        collate_fn=_as_is,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        multiprocessing_context=start_method if num_workers else None,
        # The default draws a base seed from torch's global generator, which would make the
        # network's own random numbers depend on the number of epochs loaded.
        generator=torch.Generator(),
    )
    batches.set_epoch(*dataset.now)
    return ScaeLoader(dataset, batches, loader)


def _as_is(batch: Any) -> Any:  # noqa: ANN401  # a Batch; torch declares a list of samples
    return batch
