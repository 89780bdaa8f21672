"""Finding the images below a folder: split folders, class folders, and the files in them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loaders.errors import DataError, OptionError
from loaders.identity import PathTable

__all__ = [
    "HELD_OUT_FOLDERS",
    "IMAGE_SUFFIXES",
    "FolderIndex",
    "find_split",
    "folders_in",
    "index_class_folders",
]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")
"""Suffixes of image files, in lower or upper case; other files are no part of a data set."""

HELD_OUT_FOLDERS = ("test", "val", "valid", "validation")
"""Names of the folder that holds split "test", the first found wins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderIndex:
    """The images of one data set: where they are and what they show."""

    base: Path
    """Folder that the paths are relative to."""

    class_names: tuple[str, ...]
    """Name of each of the K classes."""

    paths: PathTable
    """N relative POSIX paths."""

    labels: NDArray[np.int64]
    """(N,) in [0, K)."""

    sizes: NDArray[np.int64]
    """(N,) file sizes in bytes."""

    @classmethod
    def of(
        cls, base: Path, class_names: Sequence[str], files: Sequence[tuple[bytes, int, int]]
    ) -> "FolderIndex":
        """Return the index of `files`, each (relative path, label, size in bytes)."""
        return cls(
            base=base,
            class_names=tuple(class_names),
            paths=PathTable.of([path for path, _, _ in files]),
            labels=np.array([label for _, label, _ in files], np.int64),
            sizes=np.array([size for _, _, size in files], np.int64),
        )


def find_split(root: Path, split: str) -> str:
    """Return the name of the sub-folder that holds `split`; "" where `root` has no splits.

    A root has splits if it holds train/ and a held-out folder, or no other folders than these.

    Raises:
        OptionError: If `split` is neither "train" nor "test".
        DataError: If the root is no folder, or has no such split.
    """
    if split not in ("train", "test"):
        raise OptionError(f"split must be 'train' or 'test', got {split!r}")
    if not root.is_dir():
        raise DataError(f"data folder {root} does not exist or is no folder; check the path")
    folders = folders_in(root)
    held_out = [name for name in HELD_OUT_FOLDERS if name in folders]
    has_train = "train" in folders
    has_splits = (has_train and held_out) or (folders and folders <= {"train", *HELD_OUT_FOLDERS})
    if split == "train":
        if has_splits and not has_train:
            raise DataError(f"{root} has no train folder, got {held_out[0]}; add it or pass a root")
        return "train" if has_splits else ""
    if not has_splits or not held_out:
        raise DataError(
            f"{root} has no folder for split 'test', which is called {', '.join(HELD_OUT_FOLDERS)} "
            "and lies beside train; add one"
        )
    return held_out[0]


def index_class_folders(base: Path, class_names: Sequence[str] | None = None) -> FolderIndex:
    """Return the index of the images in the folders of `base`, one folder a class.

    Args:
        base: Folder of class folders.
        class_names: The classes of the train split, in label order; None = all folders by name.

    Raises:
        DataError: If there is no class folder, one is empty or unknown, or one can't be read.
    """
    folders = sorted(folders_in(base))
    if not folders:
        raise DataError(
            f"{base} has no class folders; put the images at {base}/CLASS/NAME.jpg, "
            "or list them in a labels.csv"
        )
    names = list(folders if class_names is None else class_names)
    label_of = {name: label for label, name in enumerate(names)}
    files: list[tuple[bytes, int, int]] = []
    for folder in folders:
        if folder not in label_of:
            raise DataError(f"class folder {base / folder} is none of the train split's")
        found = _image_files(base, folder)
        if not found:
            raise DataError(
                f"class folder {base / folder} has no image ({' '.join(IMAGE_SUFFIXES)}); "
                "add some or remove the folder"
            )
        files += [(path, label_of[folder], size) for path, size in found]
    return FolderIndex.of(base, names, files)


def folders_in(root: Path) -> set[str]:
    """Return the names of the folders in `root`, without hidden ones."""
    try:
        with os.scandir(root) as entries:
            return {e.name for e in entries if e.is_dir() and not e.name.startswith(".")}
    except OSError as error:
        raise _unreadable(error) from error


def _image_files(base: Path, folder: str) -> list[tuple[bytes, int]]:
    """Return (relative path, size in bytes) of the images below base/folder, by path."""
    found: list[tuple[bytes, int]] = []
    waiting = [folder]
    try:
        while waiting:
            place = waiting.pop()
            with os.scandir(base / place) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue  # as the "._name.jpg" companions that macOS leaves
                    path = f"{place}/{entry.name}"
                    if entry.is_dir():
                        waiting.append(path)
                    elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                        found.append((os.fsencode(path), entry.stat().st_size))
    except OSError as error:
        raise _unreadable(error) from error
    return sorted(found)


def _unreadable(error: OSError) -> DataError:
    return DataError(
        f"cannot read {error.filename}: {error.strerror}; check the link or its rights"
    )
