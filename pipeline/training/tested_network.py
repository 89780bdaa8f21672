"""A network and the images to measure it on: those of a run, or named one by one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from loaders.cropped_data import CentreCropped
from loaders.errors import DataError
from loaders.folder_index import HELD_OUT_FOLDERS, folders_in
from loaders.image_data import ImageData
from loaders.named_data import DATA_NAMES
from pipeline.errors import RecipeError
from pipeline.refresh.plan import resolve_device
from pipeline.refresh.sources import DataSource, NetworkSource
from pipeline.saliency.networks import BuiltNetwork
from pipeline.saliency.precision import choose_precision
from pipeline.saliency.weights import weights_digest
from pipeline.training.checkpoint import read_average
from pipeline.training.recipe import Recipe
from pipeline.training.recipe_file import load_recipe
from pipeline.training.run_folder import RunFolder
from pipeline.training.setup import network_source, training_source

CROP_SHARE = 0.875
"""Side of the centre cut over the resized shorter side, where one of them is not given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TestOptions:
    """On which images, and how; None is as the run has it."""

    __test__ = False  # not for pytest

    data: str | None = None
    """Name or folder of other images than the run's."""
    split: str | None = None
    """'train' or 'test'; None: test, or the whole of a folder without a held-out one."""
    root: str | None = None
    """Folder of a named data set."""
    classes: int | None = None
    """Number of classes of the data, if known."""
    size: int | None = None
    """Side of the network's input in pixels; None for a network alone: its own."""
    resize: int | None = None
    """Resize the shorter side to so many pixels and cut out the centre; None squashes."""
    center_crop: int | None = None
    """Side of that cut, which is the network's input then."""
    precision: str | None = None
    """'auto', 'fp32' or 'bf16'; None for a network alone: fp32."""
    device: str | None = None
    """'auto', 'cpu' or 'cuda'."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TestedNetwork:
    """A network with its weights, the images, and what the measuring needs to know."""

    __test__ = False  # not for pytest

    built: BuiltNetwork
    """The network, on its device."""
    weights: str
    """Where its weights are from."""
    data: ImageData
    """Images to measure it on."""
    split: str
    """Which split of the data that is; 'all' of a folder without splits."""
    preparation: str
    """How images are brought to the network's size, for people."""
    size: int
    """Side of the network's input in pixels."""
    device: torch.device
    """Where it runs."""
    bf16: bool
    """Whether forward passes run under bfloat16 autocast."""
    class_counts: NDArray[np.int64] | None = None
    """Training images of each class, (K,) int64; None if they are not known."""
    logit_scale: float = 1.0
    """What logits are multiplied by, as in the run's loss."""
    top5: bool = True
    """Whether top-5 accuracy is told."""
    target_layer: str | None = None
    """Layer to explain; None finds it."""
    seed: int = 0
    """Of random occlusions."""
    warnings: tuple[str, ...] = ()
    """What the user should know."""


def tested_run(run: Path | None, checkpoint: Path | None, options: TestOptions) -> TestedNetwork:
    """Open a run's network as the run evaluates it.

    Args:
        run: The run folder; None: the one that `checkpoint` lies in.
        checkpoint: Its weights; None: the run's final ones, else its newest checkpoint.
        options: Which images, and how.

    Raises:
        RecipeError: If there is no run, or it has no checkpoint yet.
        NetworkError: If the network can't be built, or the weights can't be read or don't fit.
        DataError: If the data can't be opened, or has other classes.
    """
    if checkpoint is not None and not checkpoint.is_file():
        raise RecipeError(f"no checkpoint at {checkpoint}: name a file in a run's checkpoints/")
    folder = RunFolder(run or _folder_of(checkpoint))
    if not folder.recipe_path.is_file():
        raise RecipeError(
            f"no run in {folder.path}: it has no {folder.recipe_path.name}; name a folder of "
            "`scae train`, or a network with --network, --weights and --data"
        )
    recipe = load_recipe(folder.recipe_path)
    weights = checkpoint or _newest(folder)
    counts, names, warnings = _trained_on(recipe, options)
    source = _source(options, training_source(recipe), None if names is None else len(names))
    data = source.open()
    if names is not None:
        warnings += _check_classes(data, names, folder)
    built = replace(network_source(recipe, data.num_classes), weights=str(weights)).build()
    if recipe.train.ema:
        built = _averaged(built, weights)
    asked = replace(
        options,
        size=options.size or recipe.data.size,
        precision=options.precision or recipe.train.precision,
        device=options.device or recipe.train.device,
    )
    return replace(
        _tested(built, weights.name, data, _told_split(source, options), asked),
        class_counts=counts,
        logit_scale=recipe.loss.logit_scale,
        top5=recipe.evaluate.top5 != "no",
        target_layer=recipe.network.target_layer,
        seed=recipe.seed,
        warnings=tuple(warnings),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedNetwork:
    """A network of no run; the fields are `build_network`'s arguments."""

    name: str
    """Network name."""
    weights: str
    """'random', 'default' or a file."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the network's constructor."""


def tested_network(network: NamedNetwork, options: TestOptions) -> TestedNetwork:
    """Open a network that no run has made.

    Args:
        network: The network.
        options: Which images, and how; `data` must be given.

    Raises:
        NetworkError: If the network can't be built, or the weights can't be read or don't fit.
        DataError: If the data can't be opened.
    """
    source = _source(options, None, options.classes)
    data = source.open()
    built = NetworkSource(
        name=network.name,
        num_classes=data.num_classes,
        weights=network.weights,
        options=network.options,
    ).build()
    return _tested(built, network.weights, data, _told_split(source, options), options)


def _tested(
    built: BuiltNetwork, weights: str, data: ImageData, split: str, options: TestOptions
) -> TestedNetwork:
    device = torch.device(resolve_device(options.device or "auto"))
    # As the trainer has it, lest sums be taken in another order.
    built.module.to(device).to(memory_format=torch.channels_last)
    size = options.center_crop or options.size or built.native_size
    preparation = f"squashed whole to {size}x{size}"
    if options.resize or options.center_crop:
        resize = options.resize or round(size / CROP_SHARE)
        data = CentreCropped(data, resize, size)
        preparation = f"shorter side resized to {resize}, centre {size}x{size} cut out"
    return TestedNetwork(
        built=built,
        weights=weights,
        data=data,
        split=split,
        preparation=preparation,
        size=size,
        device=device,
        bf16=choose_precision(options.precision or "fp32", device.type).name == "bf16",
    )


def _averaged(built: BuiltNetwork, weights: Path) -> BuiltNetwork:
    """Return the network with the average of a checkpoint, which is what the run evaluates."""
    average = read_average(weights)
    if average is None:
        return built
    built.module.load_state_dict(average)
    return replace(built, weights_digest=weights_digest(built.module))


def _folder_of(checkpoint: Path | None) -> Path:
    return Path() if checkpoint is None else checkpoint.absolute().parent.parent


def _newest(folder: RunFolder) -> Path:
    """Return the weights that a run has got to."""
    if folder.weights_path.is_file():
        return folder.weights_path
    checkpoints = folder.checkpoint_paths()
    if not checkpoints:
        raise RecipeError(
            f"run {folder.path} has no checkpoint yet: there is one after its first epoch"
        )
    return checkpoints[-1]


def _trained_on(
    recipe: Recipe, options: TestOptions
) -> tuple[NDArray[np.int64] | None, tuple[str, ...] | None, list[str]]:
    """Return image counts and names of the run's classes, and warnings."""
    try:
        trained = training_source(recipe).open()
    except DataError as error:
        if options.data is None:
            raise
        return None, None, [f"no many, medium and few: the run's training data is gone ({error})"]
    return trained.class_counts, trained.class_names, []


def _source(options: TestOptions, own: DataSource | None, classes: int | None) -> DataSource:
    """Return the data asked for, or else a run's own."""
    if options.data is None and own is not None:
        return own if options.split == "train" else replace(own, split="test", holdout=0.0)
    name = str(options.data)
    return DataSource(
        name=name,
        split=options.split or _only_split(name),
        num_classes=options.classes or classes,
        root=options.root,
    )


def _only_split(name: str) -> str:
    folder = Path(name).expanduser()
    if name in DATA_NAMES or not folder.is_dir():
        return "test"
    return "test" if set(HELD_OUT_FOLDERS) & set(folders_in(folder)) else "train"


def _told_split(source: DataSource, options: TestOptions) -> str:
    return "all" if options.split is None and source.split == "train" else source.split


def _check_classes(data: ImageData, names: tuple[str, ...], folder: RunFolder) -> list[str]:
    if data.num_classes != len(names):
        raise DataError(
            f"{data.name} must have the {len(names)} classes that run {folder.path} was trained "
            f"on, got {data.num_classes}: name images of those classes"
        )
    pairs = enumerate(zip(data.class_names, names, strict=True))
    other = next(((k, got, own) for k, (got, own) in pairs if got != own), None)
    if other is None:
        return []
    return [
        f"classes of {data.name} have other names than the run's, so check their order: class "
        f"{other[0]} is {other[1]!r}, in the run {other[2]!r}"
    ]
