"""The index of a hundred thousand files, against a plain listing after every kind of change."""

from __future__ import annotations

import io
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from loaders.errors import ChangedImageError
from loaders.folder_data import FolderData
from tests.loaders.index_trees import CHANGES, make_tree, opened, opened_plainly, settle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import TortureLog

NUM_FILES, NUM_FOLDERS = 100_000, 500


def _add_jpegs(root: Path) -> None:
    """Add tiny JPEGs, of which each folder has one file with many names."""
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (200, 100, 0)).save(buffer, "JPEG")
    for number in range(NUM_FOLDERS):
        folder = root / f"n{number:04d}" / "images"
        folder.mkdir(parents=True)
        (folder / "0.jpg").write_bytes(buffer.getvalue() + bytes(number))
        for copy in range(1, NUM_FILES // NUM_FOLDERS):
            os.link(folder / "0.jpg", folder / f"{copy}.jpg")


def _make_anew(root: Path) -> None:
    """Undo a change: the small classes as they were, and nothing but JPEG folders beside them."""
    for path in root.parent.iterdir():
        if path.is_dir() and path.name not in (root.name, "indexes"):
            shutil.rmtree(path)
    for path in [*root.iterdir()] if root.exists() else []:
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif not path.name.startswith("n0"):
            shutil.rmtree(path)
    make_tree(root)


@pytest.mark.torture
def test_after_any_change_among_many_files_an_index_gives_what_a_listing_gives(
    tree: Path, indexes: Path, open_torture_log: Callable[..., TortureLog]
) -> None:
    _add_jpegs(tree)
    for change in open_torture_log("index", "loaders").todo([*sorted(CHANGES), "written in place"]):
        if not any(tree.glob("n0*")):
            _add_jpegs(tree)
        _make_anew(tree)
        settle()
        opened(tree)
        if change in CHANGES:
            CHANGES[change](tree)
        else:
            with (tree / "n0007/images/5.jpg").open("ab") as file:
                file.write(b"more")
            before = len(list(indexes.iterdir()))
            with pytest.raises(ChangedImageError, match="n0007/images"):
                FolderData(tree).read(11 + 7 * NUM_FILES // NUM_FOLDERS)
            assert len(list(indexes.iterdir())) == before - 1
        assert opened(tree) == opened_plainly(tree)
        settle()
        assert opened(tree) == opened_plainly(tree)
