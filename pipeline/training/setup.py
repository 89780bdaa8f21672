"""What a run is made of: data, network, optimiser and loader, built from a recipe."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch.optim import SGD

from loaders.batches import NO_GENERATION
from loaders.build import build_loader
from loaders.errors import DataError
from loaders.folder_data import FolderData
from loaders.image_data import ArrayData, ImageData
from loaders.methods.method import Method, Setting
from loaders.methods.scae import Scae
from loaders.policy import ScaePolicy
from loaders.sample_orders import SampleOrder
from loaders.scae_loader import ScaeLoader
from pipeline.errors import RecipeError
from pipeline.refresh.plan import resolve_device
from pipeline.refresh.sources import DataSource, NetworkSource
from pipeline.saliency.networks import BuiltNetwork
from pipeline.saliency.precision import choose_precision
from pipeline.training.combinations import check_data
from pipeline.training.decay_groups import decay_groups
from pipeline.training.head import prepare_head
from pipeline.training.input_transform import SMALL_SIDE, input_transform
from pipeline.training.ranks import ALONE, Ranks
from pipeline.training.recipe import Recipe

MAX_MEMORY_BYTES = 4 * 2**30
"""Decoded images beyond this are not kept in memory by themselves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunParts:
    """Everything that the trainer works with."""

    recipe: Recipe
    """The resolved recipe."""
    data_source: DataSource
    """How another process opens the training data."""
    train_data: ImageData
    """Training images, long-tailed where the recipe says so."""
    test_data: ImageData | None
    """Test images, None without evaluation."""
    built: BuiltNetwork
    """The network and how images are normalised for it."""
    optimizer: SGD
    """SGD with momentum."""
    method: Method | None
    """What is erased or mixed, and how."""
    loader: ScaeLoader
    """Training batches."""
    size: int
    """Side of the network's input in pixels."""
    device: torch.device
    """Where the network is."""
    bf16: bool
    """Whether forward passes run under bfloat16 autocast."""
    cache: str
    """Path or URL of the cache."""
    accept_stale: bool
    """Whether maps of images that have changed since are used."""
    ranks: Ranks = ALONE
    """This process's place among those that train together."""

    @property
    def policy(self) -> ScaePolicy | None:
        """SCAE's decisions, None for another method."""
        return self.method.policy if isinstance(self.method, Scae) else None

    def guidance(self, epoch: int) -> float:
        """Return how strongly saliency steers the method at a 0-based epoch, 0 without one."""
        return 0.0 if self.method is None else self.method.guidance(epoch)


def build_parts(
    recipe: Recipe, cache: str | Path, *, accept_stale: bool = False, ranks: Ranks = ALONE
) -> RunParts:
    """Open the data and build the network, optimiser and loader of a run.

    Args:
        recipe: The recipe.
        cache: Path or URL of the cache.
        accept_stale: Use the maps of images that have changed since.
        ranks: This process's place among those that train together.

    Raises:
        DataError: If the data can't be opened.
        NetworkError: If the network can't be built, or the weights do not fit.
        RecipeError: If loss or second stage make no sense for this network or data.
    """
    source = training_source(recipe)
    network_size = recipe.data.size
    train_data = source.open()
    if accept_stale:
        train_data = train_data.accepting_changes()
    check_data(recipe, train_data.class_counts)
    built = network_source(recipe, train_data.num_classes).build()
    size = network_size or built.native_size
    train_data = _in_memory(recipe, train_data, size)
    device = torch.device(resolve_device(recipe.train.device))
    # Convolutions are 1.2 to 1.8 times faster so on CPUs, and GPUs want it for bfloat16.
    built.module.to(device).to(memory_format=torch.channels_last)
    prepare_head(recipe, built, size)
    method = recipe.augment.build(
        Setting(
            num_epochs=recipe.train.epochs,
            class_counts=tuple(train_data.class_counts.tolist()),
            size=size,
            mean=built.mean,
            std=built.std,
        )
    )
    precision = recipe.train.precision
    return RunParts(
        recipe=recipe,
        data_source=source,
        train_data=train_data,
        test_data=_test_data(recipe, size),
        built=built,
        optimizer=SGD(
            decay_groups(built.module, everywhere=recipe.train.decay_norm_bias),
            lr=recipe.train.lr,
            momentum=recipe.train.momentum,
            weight_decay=recipe.train.weight_decay,
        ),
        method=method,
        loader=run_loader(
            recipe, train_data, built, method, size, cache, accept_stale=accept_stale, ranks=ranks
        ),
        size=size,
        device=device,
        bf16=choose_precision(precision, device.type).name == "bf16",
        cache=str(cache),
        accept_stale=accept_stale,
        ranks=ranks,
    )


def network_source(recipe: Recipe, num_classes: int) -> NetworkSource:
    """Return how the recipe's network is built."""
    return NetworkSource(
        name=recipe.network.name,
        num_classes=num_classes,
        weights=recipe.network.weights,
        seed=recipe.seed,
        options=recipe.network.options,
    )


def training_source(recipe: Recipe) -> DataSource:
    """Return how the images that a run learns from are opened."""
    return replace(_data_source(recipe, "train"), holdout=recipe.second_stage.holdout)


def _data_source(recipe: Recipe, split: str) -> DataSource:
    data = recipe.data
    return DataSource(
        name=data.name,
        split=split,
        imbalance=data.imbalance,
        subset_seed=data.subset_seed,
        num_classes=data.classes,
        root=data.root,
        download=data.download,
        deep=data.deep,
    )


def _test_data(recipe: Recipe, size: int) -> ImageData | None:
    if not recipe.data.evaluate:
        return None
    try:
        data = _data_source(recipe, "test").open()
    except DataError as error:
        raise DataError(f"{error}; or train without: --set data.evaluate=false") from error
    return _in_memory(recipe, data, size)


def _in_memory(recipe: Recipe, data: ImageData, size: int) -> ImageData:
    wish = recipe.data.in_memory
    if not isinstance(data, FolderData) or wish == "no" or (wish == "auto" and size > SMALL_SIDE):
        return data
    return data.load(max_bytes=MAX_MEMORY_BYTES if wish == "auto" else None)


def run_loader(
    recipe: Recipe,
    data: ImageData,
    built: BuiltNetwork,
    method: Method | None,
    size: int,
    cache: str | Path,
    *,
    accept_stale: bool = False,
    sampler: SampleOrder | Literal["shuffle"] = "shuffle",
    ranks: Ranks = ALONE,
) -> ScaeLoader:
    """Return the loader of training batches as a recipe wants them.

    Args:
        recipe: The recipe.
        data: Training images.
        built: Says how images are normalised.
        method: What is erased or mixed, None for nothing.
        size: Side of the network's input in pixels.
        cache: Path or URL of the cache.
        accept_stale: Use the maps of images that have changed since.
        sampler: Which samples an epoch delivers, in what order.
        ranks: Each gets its part of every batch.

    Raises:
        RecipeError: If a batch can't be divided among the ranks.
    """
    batch_size, rest = divmod(recipe.train.batch_size, ranks.size)
    if rest:
        raise RecipeError(
            f"train.batch_size must be a multiple of the number of ranks, {ranks.size}, got "
            f"{recipe.train.batch_size}: it counts the images of all ranks"
        )
    workers = recipe.train.workers
    if workers is None:
        cores = (os.cpu_count() or 1) // ranks.on_machine
        workers = 0 if isinstance(data, ArrayData) else max(1, cores)
    return build_loader(
        data,
        input_transform(recipe.data, built, size),
        cache=cache,
        policy=method,
        batch_size=batch_size,
        num_workers=workers,
        seed=recipe.seed,
        generation=NO_GENERATION,
        sampler=sampler,
        accept_stale=accept_stale,
        rank=ranks.rank,
        world_size=ranks.size,
    )
