"""One call from a data set to batches that are erased by its saliency maps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from cache_store.backend import is_object_url
from loaders.agreement import ranks_can_talk
from loaders.batch_memory import borrow_from
from loaders.batch_ring import BatchRing, ring_for
from loaders.batches import NO_GENERATION, Batch, BatchKey
from loaders.checks import check_word
from loaders.errors import OptionError
from loaders.folder_data import to_arrays
from loaders.image_data import ArrayData, ImageData
from loaders.map_style_data import MapStyle, MapStyleData
from loaders.methods.method import Method
from loaders.policy import ScaePolicy
from loaders.sample_orders import SampleOrder, SamplerName, sample_order
from loaders.samplers import EpochBatches
from loaders.scae_dataset import ScaeDataset
from loaders.scae_loader import ScaeLoader
from loaders.transforms import Transform


class _ByKey(Dataset[Batch]):
    """What workers hold: takes a whole batch's key."""

    def __init__(self, dataset: ScaeDataset, num_bytes: int) -> None:
        self._dataset = dataset
        self.num_bytes = num_bytes
        self.ring: BatchRing | None = None

    def __getitem__(self, key: BatchKey) -> Batch:
        if get_worker_info() is not None:
            borrow_from(self.ring)
        return self._dataset.batch(key)


class _BatchLoader(DataLoader[Batch]):
    """A data loader whose workers write batches into memory that is used again."""

    dataset: _ByKey

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        by_key = self.dataset
        if not self.num_workers:
            return super().__iter__()
        # New workers get a new ring: what became of the places of others is not known.
        if by_key.ring is None or not self.persistent_workers:
            by_key.ring = ring_for(by_key.num_bytes, self.num_workers, self.prefetch_factor or 1)
        if by_key.ring is None:
            return super().__iter__()
        with by_key.ring.workers_starting():
            return _keeping(by_key.ring, super().__iter__())


def _keeping(_ring: BatchRing, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Pass batches on; what they lie in is needed to receive them."""
    yield from batches


StartMethod = Literal["fork", "spawn", "forkserver"]
"""How worker processes begin."""

IMAGE_CHANNELS, FLOAT_BYTES = 3, 4
"""Of the network's input."""

MAX_MEMORY_BYTES = 4 * 2**30
"""Decoded images beyond this are not kept in memory."""


def build_loader(
    data: ImageData | MapStyle,
    transform: Transform,
    *,
    cache: str | Path | None = None,
    policy: ScaePolicy | Method | None = None,
    batch_size: int = 128,
    sampler: SamplerName | SampleOrder = "shuffle",
    repeats: int = 3,
    drop_last: bool = False,
    num_workers: int = 0,
    prefetch_factor: int = 2,
    persistent_workers: bool = True,
    start_method: StartMethod | None = None,
    pin_memory: bool = False,
    seed: int = 0,
    generation: int | None = None,
    rank: int | None = None,
    world_size: int | None = None,
    in_memory: bool = False,
    accept_stale: bool = False,
) -> ScaeLoader:
    """Make the training loader.

    The batches depend on `num_workers`, `prefetch_factor`, `persistent_workers` and `start_method`
    in no byte. Rank 0 holds a lease on the generation in use, so that no collection takes it away.

    Args:
        data: An `ImageData` (from `open_data`), or any map-style data set of (image, label).
        transform: From whole images to the network's input.
        cache: Path or URL of the cache; None erases with uniform centres.
        policy: SCAE's options, or another method, see `loaders.methods`; None changes no image.
        batch_size: Samples a batch of this process.
        sampler: "shuffle" and "sequential" deliver each sample once; "class_balanced" and
            "square_root" give classes shares in proportion to 1 and sqrt(n_k); "repeated" delivers
            N / repeats samples `repeats` times each, with other draws. Or a `SampleOrder`.
        repeats: For "repeated": how often a sample is delivered.
        drop_last: Leave out a last batch that is not full.
        num_workers: Worker processes; 0 loads in this one.
        prefetch_factor: Batches that each worker prepares ahead.
        persistent_workers: Keep the workers from epoch to epoch.
        start_method: How workers start; None is PyTorch's choice, forkserver for object stores.
        pin_memory: Put batches into pinned memory, for GPUs.
        seed: The run's seed.
        generation: Generation to begin with; 0 for none yet, None for the newest.
        rank: This process among `world_size`; None asks `torch.distributed` where it is
            initialised, else 0.
        world_size: Processes that share an epoch; None likewise, else 1.
        in_memory: Decode all images now and keep them, up to 4 GiB; they must have one size.
        accept_stale: Use the maps of images that have changed since, and say so in the log.

    Raises:
        CacheMismatchError: If the cache was made for other data.
        CacheNotFoundError: If a cache is named and there is none, or nothing in it.
        DataError: If images can't be held in memory.
        OptionError: If an option is outside its range.
    """
    if num_workers < 0 or prefetch_factor < 1:
        raise OptionError(
            "num_workers must be at least 0 and prefetch_factor at least 1, got "
            f"{num_workers} and {prefetch_factor}"
        )
    rank, world_size = _place(rank, world_size)
    dataset = ScaeDataset(
        _held(data, accept_stale=accept_stale) if in_memory else data,
        cache,
        policy,
        transform,
        seed=seed,
        generation=NO_GENERATION,
        accept_stale=accept_stale,
        lease=rank == 0,
    )
    if isinstance(sampler, str):
        sampler = sample_order(sampler, dataset.data.labels, repeats)
    batches = EpochBatches(
        sampler,
        batch_size,
        seed=seed,
        drop_last=drop_last,
        rank=rank,
        world_size=world_size,
    )
    loader = _BatchLoader(
        _ByKey(dataset, batch_size * IMAGE_CHANNELS * transform.size**2 * FLOAT_BYTES),
        batch_size=None,
        sampler=batches,
        num_workers=num_workers,
        collate_fn=_as_is,
        pin_memory=pin_memory,
        persistent_workers=persistent_workers and num_workers > 0,
        prefetch_factor=prefetch_factor if num_workers else None,
        multiprocessing_context=_context(start_method, cache) if num_workers else None,
        # The default draws a base seed from torch's global generator, which would make the
        # network's own random numbers depend on the number of epochs loaded.
        generator=torch.Generator(),
    )
    made = ScaeLoader(dataset, batches, loader)
    made.set_epoch(0, generation)
    return made


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if (rank is None) != (world_size is None):
        raise OptionError(
            f"rank and world_size must be given together, got rank={rank} world_size={world_size}"
        )
    if rank is not None and world_size is not None:
        return rank, world_size
    if ranks_can_talk():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _held(data: ImageData | MapStyle, *, accept_stale: bool) -> ArrayData:
    images = data if isinstance(data, ImageData) else MapStyleData(data)
    if isinstance(images, ArrayData):
        return images
    images = images.accepting_changes() if accept_stale else images
    return to_arrays(images, max_bytes=MAX_MEMORY_BYTES)


def _context(start_method: StartMethod | None, cache: str | Path | None) -> StartMethod | None:
    if start_method is not None:
        check_word("start_method", start_method, get_args(StartMethod))
        return start_method
    # A forked child of an object store's client hangs.
    return "forkserver" if cache is not None and is_object_url(str(cache)) else None


def _as_is(batch: Any) -> Any:  # noqa: ANN401  # a Batch; torch declares a list of samples
    return batch
