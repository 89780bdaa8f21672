"""The index of a folder: what it spares, and that it never changes what a plain listing gives."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loaders import listing
from loaders.folder_data import FolderData
from loaders.listing import UNSETTLED, change_times
from tests.loaders.index_trees import CHANGES, make_tree, opened, opened_plainly, settle, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCAE_DATA = os.environ.get("SCAE_DATA", "")


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The names of folders that were listed since the last call."""
    names: list[str] = []
    scandir = os.scandir

    def recording(path: Path | int) -> Iterator[os.DirEntry[str]]:
        # shutil names open folders by number, and the folder of indexes is swept.
        if isinstance(path, Path) and path.name != "indexes":
            names.append(path.name)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", recording)

    def take() -> list[str]:
        taken = names.copy()
        names.clear()
        return taken

    return take


def test_a_second_start_lists_the_class_folders_names_alone(
    tree: Path, scanned: Callable[[], list[str]]
) -> None:
    settle()
    first = opened(tree)
    assert sorted(scanned()) == ["ant", "bee", "cat", "data", "data", "deep", "dög", "sub"]
    assert opened(tree) == first == opened_plainly(tree)
    scanned()
    opened(tree)
    assert scanned() == ["data", "data"]


def test_the_index_belongs_to_the_data_whatever_its_name(tree: Path, indexes: Path) -> None:
    settle()
    listed = opened(tree)
    (tree.parent / "link").symlink_to(tree)
    assert opened(tree.parent / "link") == listed
    assert len(list(indexes.iterdir())) == 1


@pytest.mark.parametrize("change", list(CHANGES))
def test_after_any_change_an_index_gives_what_a_listing_gives(tree: Path, change: str) -> None:
    settle()
    opened(tree)
    CHANGES[change](tree)
    assert opened(tree) == opened_plainly(tree)
    settle()
    assert opened(tree) == opened_plainly(tree)


def test_only_class_folders_that_have_changed_are_listed_again(
    tree: Path, scanned: Callable[[], list[str]]
) -> None:
    settle()
    opened(tree)
    write(tree / "dög/sub/new.jpg", 5)
    (tree / "ant/0.jpg").unlink()
    scanned()
    opened(tree)
    assert sorted(scanned()) == ["ant", "data", "data", "deep", "dög", "sub"]


def test_classes_behind_a_new_one_are_listed_again_as_their_labels_change(
    tree: Path, scanned: Callable[[], list[str]]
) -> None:
    settle()
    opened(tree)
    write(tree / "bat/0.jpg", 5)
    scanned()
    assert opened(tree) == opened_plainly(tree)
    assert "ant" not in scanned()[:6]


def test_a_folder_changed_a_moment_before_it_was_listed_is_listed_again(
    tree: Path, scanned: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one tick of the file system's clock a second change would leave no trace."""
    monkeypatch.setattr(listing, "SETTLED_NS", 2_000_000_000)
    opened(tree)
    scanned()
    opened(tree)
    assert "bee" in scanned()


def test_times_that_tell_nothing_are_not_noted(tree: Path) -> None:
    settle()
    status = tree.stat()
    assert change_times(status) == (status.st_mtime_ns, status.st_ctime_ns)
    os.utime(tree, (time.time() + 3600, time.time() + 3600))
    settle()
    assert change_times(tree.stat()) == UNSETTLED
    # Some network file systems have no times and show the beginning of the epoch.
    os.utime(tree, (0, 0))
    settle()
    assert change_times(tree.stat()) == UNSETTLED


def test_splits_have_indexes_of_their_own_and_the_train_folders_say_the_classes(
    tmp_path: Path, indexes: Path
) -> None:
    place = tmp_path / "splits"
    for name in ("train/a/1.jpg", "train/b/2.jpg", "train/c/3.jpg", "test/c/4.jpg"):
        write(place / name, 10)
    settle()
    for split in ("train", "test"):
        assert opened(place, split) == opened_plainly(place, split)
    assert len(list(indexes.iterdir())) == 2
    write(place / "train/bat/5.jpg", 10)
    assert FolderData(place, split="test").labels.tolist() == [3]
    assert opened(place, "test") == opened_plainly(place, "test")


@pytest.mark.parametrize("change", ["class-of-no-test-image", "last-test-class-removed"])
def test_a_test_split_follows_changes_that_none_of_its_folders_shows(
    tmp_path: Path, indexes: Path, change: str
) -> None:
    place = tmp_path / "splits"
    for name in ("train/a/1.jpg", "train/b/2.jpg", "test/a/3.jpg", "test/b/4.jpg"):
        write(place / name, 10)
    settle()
    opened(place, "test")
    assert len(list(indexes.iterdir())) == 1
    if change == "class-of-no-test-image":
        write(place / "train/c/5.jpg", 10)
    else:
        shutil.rmtree(place / "test/b")
    assert opened(place, "test") == opened_plainly(place, "test")


TABLE = "path,label,name\nbee/0.jpg,1,b\nant/0.jpg,0,a\ndög/y.jpg,1,b\n"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _root: None, id="nothing"),
        pytest.param(
            lambda root: (root / "labels.csv").write_text(TABLE.replace(",1,", ",2,")), id="table"
        ),
        pytest.param(lambda root: (root / "labels.csv").unlink(), id="table-removed"),
        pytest.param(lambda root: (root / "bee/0.jpg").unlink(), id="listed-file-removed"),
        pytest.param(lambda root: write(root / "bee/n.jpg", 5), id="other-file-added"),
        pytest.param(
            lambda root: (root / "cat/0.jpg").replace(root / "bee/0.jpg"), id="file-replaced"
        ),
        pytest.param(lambda root: (root / "bee").rename(root / "b"), id="folder-renamed"),
    ],
)
def test_a_table_of_labels_is_watched_with_the_folders_it_names(
    tree: Path, change: Callable[[Path], object]
) -> None:
    (tree / "labels.csv").write_text(TABLE)
    settle()
    opened(tree)
    change(tree)
    assert opened(tree) == opened_plainly(tree)
    settle()
    assert opened(tree) == opened_plainly(tree)


def test_a_table_that_has_not_changed_is_not_read(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "labels.csv").write_text(TABLE)
    settle()
    first = opened(tree)
    monkeypatch.setattr("loaders.labels_csv._read_table", lambda _table: pytest.fail("was read"))
    assert opened(tree) == first
    with pytest.raises(pytest.fail.Exception):
        FolderData(tree, num_classes=5)  # another question, another index


FILES = st.sampled_from(["ant/0.jpg", "bee/1.jpg", "bee/2.jpg", "cat/sub/3.jpg", "elk/4.jpg"])
OPERATIONS = st.one_of(
    st.tuples(st.just("write"), FILES, st.integers(1, 3)),
    st.tuples(st.just("remove"), FILES, st.just(0)),
    st.tuples(st.just("touch"), FILES, st.just(0)),
    st.tuples(st.just("rename"), FILES, st.integers(0, 4)),
    st.tuples(st.just("remove-folder"), FILES, st.just(0)),
    st.tuples(st.just("open"), FILES, st.just(0)),
)


def _apply(tree: Path, operation: str, name: str, number: int) -> None:
    path = tree / name
    if operation == "write":
        write(path.with_name(f"{number}.tmp"), number)
        path.with_name(f"{number}.tmp").replace(path)
    elif operation == "remove":
        path.unlink(missing_ok=True)
    elif operation == "touch" and path.exists():
        path.touch()
    elif operation == "rename" and path.exists():
        path.rename(path.with_name(f"{number}.jpg"))
    elif operation == "remove-folder":
        shutil.rmtree(tree / name.split("/")[0], ignore_errors=True)
    elif operation == "open":
        opened(tree)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(OPERATIONS, max_size=8))
def test_any_history_gives_what_a_listing_gives(
    indexes: Path, histories: list[tuple[str, str, int]]
) -> None:
    with tempfile.TemporaryDirectory(dir=indexes.parent) as folder:
        root = make_tree(Path(folder))
        settle()
        for operation, name, number in histories:
            _apply(root, operation, name, number)
        assert opened(root) == opened_plainly(root)
        settle()
        assert opened(root) == opened_plainly(root)


@pytest.mark.skipif(
    not Path(SCAE_DATA, "imagenet-400.tar").is_file() or not SCAE_DATA,
    reason="set SCAE_DATA to the folder with imagenet-400.tar",
)
def test_real_photographs_by_table_and_by_folder(
    tmp_path: Path, indexes: Path, scanned: Callable[[], list[str]]
) -> None:
    place = tmp_path / "photographs"
    with tarfile.open(Path(SCAE_DATA, "imagenet-400.tar")) as archive:
        archive.extractall(place, filter="data")
    settle()
    for num in (400, 399):  # first as labels.csv has them, then as the class folders
        first = opened(place)
        assert len(FolderData(place)) == num
        assert first == opened_plainly(place)
        scanned()
        assert opened(place) == first
        assert set(scanned()) == {"photographs"}
        row = 123
        data = FolderData(place)
        assert data.read(row).shape[2] == 3
        Path(data.describe(row)).unlink()
        assert opened(place) == opened_plainly(place)
        (place / "labels.csv").unlink(missing_ok=True)
        Path(data.describe(row)).parent.rmdir()
    assert len(list(indexes.iterdir())) == 2
    assert np.array_equal(FolderData(place).labels, np.arange(398))
