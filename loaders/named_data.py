"""Data sets by name: rendered shapes, CIFAR, ImageNet, or any folder of images."""

import difflib
import os
from pathlib import Path
from typing import Any

import numpy as np

from loaders.errors import DataError, OptionError
from loaders.folder_data import FolderData
from loaders.image_data import ArrayData, ImageData
from loaders.long_tail import long_tail_rows
from loaders.shapes import open_shapes

__all__ = ["DATA_NAMES", "open_data"]

DATA_NAMES = ("shapes", "cifar10", "cifar100", "imagenet")
"""Names that `open_data` knows; everything else is a folder."""

_CIFAR_CLASSES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
"""The class of torchvision.datasets of each name."""

_CIFAR_ROOT = "data"
"""Folder for CIFAR where no root is given, as in torchvision's examples."""

Location = str | os.PathLike[str]


def open_data(
    name_or_path: Location,
    *,
    split: str = "train",
    imbalance: float | None = None,
    subset_seed: int = 0,
    num_classes: int | None = None,
    download: bool = False,
    root: Location | None = None,
    deep: bool = False,
) -> ImageData:
    """Open a data set by name, or a folder of images.

    Args:
        name_or_path: One of `DATA_NAMES`, or a folder; a folder of such a name is "./shapes".
        split: "train" or "test".
        imbalance: Make the train split long-tailed, see `long_tail_rows`; 1 = leave it as it is;
            None = 100 for shapes, else 1. Test splits are never changed.
        subset_seed: Seed of the choice of the long-tailed subset.
        num_classes: Number of classes; None = all. For shapes the first ones are taken; folders
            and CIFAR must have as many, and a labels.csv may have fewer.
        download: Fetch CIFAR if it is not there; without effect on other data.
        root: Folder of the named data set (CIFAR: None = "data"; ImageNet: required).
        deep: Know a folder's images by their bytes instead of their sizes: reads every file.

    Returns:
        The data set; row i is sample i as trained.

    Raises:
        DataError: If there is no such data set, or the long tail leaves a class without images.
        OptionError: If split or imbalance has no allowed value.
    """
    if split not in ("train", "test"):
        raise OptionError(f"split must be 'train' or 'test', got {split!r}")
    name = os.fspath(name_or_path)
    if name == "shapes":
        return open_shapes(
            split,
            imbalance=100.0 if imbalance is None else imbalance,
            subset_seed=subset_seed,
            num_classes=num_classes,
        )
    if name in _CIFAR_CLASSES:
        data: ImageData = _open_cifar(name, split, num_classes, Path(root or _CIFAR_ROOT), download)
    else:
        data = FolderData(
            _folder(name, root), split=split, num_classes=num_classes, name=_title(name)
        )
    if split != "test" and imbalance not in (None, 1):
        data = _long_tail(data, imbalance, subset_seed)
    return data.deepened() if deep and isinstance(data, FolderData) else data


def _title(name: str) -> str | None:
    return name if name in DATA_NAMES else None


def _folder(name: str, root: Location | None) -> Path:
    """Return the data set's folder, or raise DataError with what may have been meant."""
    if name == "imagenet":
        if root is None:
            raise DataError("imagenet needs the folder that holds its train and val; give a root")
        return Path(root)
    path = Path(name).expanduser()
    if not path.is_dir():
        hint = _hint(path, name)
        raise DataError(
            f"data must be one of {', '.join(DATA_NAMES)} or a folder, got {name!r}, "
            f"and {path.absolute()} is no folder{hint}"
        )
    if root is not None:
        raise DataError(
            f"root is for data given by name, got root {root} and folder {name}: leave it out"
        )
    return path


def _hint(path: Path, name: str) -> str:
    """Return the name or the folder beside that path which may have been meant."""
    try:
        folders = {str(other): other.name for other in path.parent.iterdir() if other.is_dir()}
    except OSError:  # there is no such folder either, or it can't be read: names may be near
        folders = {}
    close = set(difflib.get_close_matches(path.name, folders.values(), n=2))
    near = difflib.get_close_matches(name.lower(), DATA_NAMES, n=1)
    near += sorted(folder for folder, last in folders.items() if last in close)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _open_cifar(
    name: str,
    split: str,
    num_classes: int | None,
    root: Path,
    download: bool,  # noqa: FBT001
) -> ArrayData:
    import torchvision

    maker: Any = getattr(torchvision.datasets, _CIFAR_CLASSES[name])
    try:
        source = maker(str(root), train=split == "train", download=download)
    except (OSError, RuntimeError) as error:
        cure = (
            "check the network and the folder's rights" if download else "fetch it with --download"
        )
        raise DataError(f"{name} is not in {root} or is damaged: {error}; {cure}") from error
    if num_classes is not None and num_classes != len(source.classes):
        raise DataError(
            f"{name} has {len(source.classes)} classes, got num_classes = {num_classes}"
        )
    return ArrayData(np.asarray(source.data, np.uint8), source.targets, source.classes, name=name)


def _long_tail(data: ImageData, imbalance: float, seed: int) -> ImageData:
    chosen = data.subset(long_tail_rows(data.labels, imbalance, seed, num_classes=data.num_classes))
    emptied = np.flatnonzero((data.class_counts > 0) & (chosen.class_counts == 0))
    if emptied.size:
        raise DataError(
            f"imbalance {imbalance:g} leaves class {data.class_names[emptied[0]]} of {data.name} "
            f"without images; use {data.class_counts.max()} (its largest class) or less"
        )
    return chosen
