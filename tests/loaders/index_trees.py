"""Trees of class folders, and all that an index of them decides."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from loaders.errors import DataError
from loaders.folder_data import FolderData

if TYPE_CHECKING:
    from collections.abc import Callable

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


def _swap_class_folder(root: Path) -> None:
    """Put another folder in a class folder's place, with its modification time."""
    other = root.parent / "other"
    write(other / "9.jpg", 77)
    status = (root / "bee").stat()
    (root / "bee").rename(root.parent / "moved")
    other.rename(root / "bee")
    os.utime(root / "bee", ns=(status.st_atime_ns, status.st_mtime_ns))


def _add_and_restore_time(root: Path) -> None:
    """Add a file as archive tools do, which set the folder's modification time back."""
    status = (root / "bee").stat()
    write(root / "bee/new.jpg", 5)
    os.utime(root / "bee", ns=(status.st_atime_ns, status.st_mtime_ns))


def _retarget(root: Path) -> None:
    (root / "cat").rename(root.parent / "elsewhere")
    (root / "cat").symlink_to(root.parent / "elsewhere")
    opened(root)
    settle()
    (root / "cat").unlink()
    write(root.parent / "third/5.jpg", 50)
    (root / "cat").symlink_to(root.parent / "third")


def _make_a_file_a_folder(root: Path) -> None:
    (root / "bee/1.jpg").unlink()
    write(root / "bee/1.jpg/in.jpg", 8)


def _make_a_class_a_file(root: Path) -> None:
    _empty(root)
    (root / "bee").rmdir()
    write(root / "bee", 4)


def _empty(root: Path) -> None:
    for path in (root / "bee").iterdir():
        path.unlink()


CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _root: None,
    "file-added": lambda root: write(root / "bee/new.jpg", 5),
    "file-added-time-restored": _add_and_restore_time,
    "file-added-below": lambda root: write(root / "dög/sub/deep/z.jpg", 5),
    "other-file-added": lambda root: write(root / "bee/notes.txt", 5),
    "file-removed": lambda root: (root / "bee/1.jpg").unlink(),
    "file-removed-below": lambda root: (root / "dög/sub/deep/x.png").unlink(),
    "file-renamed": lambda root: (root / "bee/1.jpg").rename(root / "bee/a.jpg"),
    "file-moved": lambda root: (root / "bee/1.jpg").rename(root / "cat/1b.jpg"),
    "file-replaced": lambda root: (root / "cat/0.jpg").replace(root / "bee/1.jpg"),
    "file-touched": lambda root: (root / "bee/1.jpg").touch(),
    "file-became-folder": _make_a_file_a_folder,
    "link-to-nowhere": lambda root: (root / "bee/l.jpg").symlink_to(root / "none"),
    "class-added": lambda root: write(root / "bat/0.jpg", 5),
    "class-added-empty": lambda root: (root / "bat").mkdir(),
    "class-removed": lambda root: shutil.rmtree(root / "bee"),
    "class-emptied": _empty,
    "class-renamed": lambda root: (root / "bee").rename(root / "zebra"),
    "class-hidden": lambda root: (root / "bee").rename(root / ".bee"),
    "class-became-file": _make_a_class_a_file,
    "classes-swapped": lambda root: (
        (root / "bee").rename(root / "tmp"),
        (root / "cat").rename(root / "bee"),
        (root / "tmp").rename(root / "cat"),
    ),
    "class-swapped-with-another": _swap_class_folder,
    "class-link-retargeted": _retarget,
    "class-touched": lambda root: (root / "bee").touch(),
    "class-rights": lambda root: (root / "bee").chmod(0o700),
    "below-removed": lambda root: shutil.rmtree(root / "dög/sub"),
    "below-added": lambda root: write(root / "cat/more/1.jpg", 6),
    "root-gone": lambda root: shutil.rmtree(root),
    "table-added": lambda root: (root / "labels.csv").write_text(
        "path,label\nbee/0.jpg,1\nant/0.jpg,0\n"
    ),
}
"""Name -> what is done to a tree of `make_tree`; files that are written anew in place are not among
them, since folders do not show those."""
