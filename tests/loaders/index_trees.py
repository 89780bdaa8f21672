"""Trees of class folders, and all that an index of them decides."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from loaders.errors import DataError
from loaders.folder_data import FolderData

SETTLED_SECONDS = 0.02
"""Longer than a tick of the kernel's clock, which is what local file systems stamp files with."""

Listed = tuple[object, ...]


def make_tree(place: Path) -> Path:
    """Make eleven files of four classes, one of them with folders in it."""
    names = [f"{label}/{number}.jpg" for label in ("ant", "bee", "cat") for number in range(3)]
    for number, name in enumerate([*names, "dög/sub/deep/x.png", "dög/y.jpg"]):
        write(place / name, 10 + number)
    return place


def write(path: Path, size: int) -> None:
    """Write a file of as many zeros, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))


def settle() -> None:
    """Wait until the times of what was changed last are believed."""
    time.sleep(1.5 * SETTLED_SECONDS)


def opened(root: Path, split: str = "train") -> Listed:
    """Return all that an index decides, or what is wrong with the data."""
    try:
        data = FolderData(root, split=split)
    except DataError as error:
        return (str(error),)
    paths = [data.paths[row] for row in range(len(data))]
    columns = (data.labels, data.sample_ids, data.content_ids)
    return (data.class_names, data.fingerprint, paths, *(column.tolist() for column in columns))


def opened_plainly(root: Path, split: str = "train") -> Listed:
    """Return the same by a listing without an index."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCAE_INDEX_DIR", "off")
        return opened(root, split)
