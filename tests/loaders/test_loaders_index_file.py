"""Index files: damage, other versions, folders that can't be written, several processes."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from loaders import listing
from loaders.folder_data import FolderData
from loaders.index_file import read_base
from tests.loaders.index_trees import (
    SETTLED_SECONDS,
    Listed,
    make_tree,
    opened,
    opened_plainly,
    settle,
    write,
)

if TYPE_CHECKING:
    from multiprocessing.queues import Queue


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, bytes, Listed]:
    """Data, its index file, the file's bytes, and what a listing gives."""
    place = tmp_path_factory.mktemp("indexed")
    root = make_tree(place / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCAE_INDEX_DIR", str(place / "indexes"))
        patch.setattr(listing, "SETTLED_NS", int(SETTLED_SECONDS * 1e9))
        settle()
        listed = opened(root)
    (path,) = (place / "indexes").iterdir()
    return root, path, path.read_bytes(), listed


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(["flip", "cut", "insert", "zeros"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 255),
)
@example("flip", 0.0, 1)
@example("cut", 0.0, 1)
@example("cut", 0.001, 1)
def test_a_damaged_index_is_named_and_made_anew(
    indexed: tuple[Path, Path, bytes, Listed],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
    place: float,
    value: int,
) -> None:
    root, path, content, listed = indexed
    monkeypatch.setenv("SCAE_INDEX_DIR", str(path.parent))
    at = int(place * len(content))
    damaged = bytearray(content)
    if damage == "flip":
        damaged[at] ^= value
    elif damage == "cut":
        del damaged[at:]
    elif damage == "insert":
        damaged.insert(at, value)
    else:
        damaged[at:] = bytes(len(content) - at + 1)
    path.write_bytes(damaged)
    caplog.clear()
    assert opened(root) == listed
    assert f"index {path} is not used: it " in caplog.text
    caplog.clear()
    assert opened(root) == listed
    assert not caplog.text


@pytest.mark.parametrize("region", ["magic", "digest", "length", "key", "columns", "end"])
def test_every_byte_of_a_region_is_covered(
    indexed: tuple[Path, Path, bytes, Listed],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    region: str,
) -> None:
    root, path, content, listed = indexed
    monkeypatch.setenv("SCAE_INDEX_DIR", str(path.parent))
    key_ends = 44 + int.from_bytes(content[40:44], "little")
    regions = {
        "magic": range(8),
        "digest": range(8, 40),
        "length": range(40, 44),
        "key": range(44, key_ends, 5),
        "columns": range(key_ends, len(content), 97),
        "end": range(len(content) - 4, len(content)),
    }
    for at in regions[region]:
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        caplog.clear()
        assert opened(root) == listed
        assert "is not used" in caplog.text, at


def test_an_index_of_other_data_is_not_used(
    tree: Path, tmp_path: Path, indexes: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settle()
    opened(tree)
    (mine,) = indexes.iterdir()
    other = make_tree(tmp_path / "other")
    write(other / "bee/more.jpg", 9)
    settle()
    opened(other)
    (others,) = set(indexes.iterdir()) - {mine}
    mine.replace(others)
    assert opened(other) == opened_plainly(other)
    assert f"index {others} is not used: it was made for other data" in caplog.text


def test_an_index_of_another_version_is_not_used(
    tree: Path,
    indexes: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settle()
    with monkeypatch.context() as patch:
        patch.setattr("loaders.index_file.MAGIC", b"SCAEIDX9")
        opened(tree)
    listed = opened(tree)
    assert "is not used: it is no index file of this version" in caplog.text
    assert listed == opened_plainly(tree)
    assert [path.read_bytes()[:8] for path in indexes.iterdir()] == [b"SCAEIDX1"]


def test_an_index_that_cannot_be_read_is_not_used(
    tree: Path, indexes: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settle()
    listed = opened(tree)
    (path,) = indexes.iterdir()
    path.unlink()
    path.mkdir()
    assert opened(tree) == listed
    assert f"index {path} is not used: Is a directory" in caplog.text


def test_a_folder_that_cannot_be_written_is_said_once(
    tree: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("SCAE_INDEX_DIR", str(blocked))
    for _ in range(2):
        assert opened(tree) == opened_plainly(tree)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message == (
        f"no index can be written to {blocked} (File exists): every start lists all folders; name "
        "another folder in SCAE_INDEX_DIR, or 'off' for none"
    )


def test_a_full_disk_leaves_nothing_behind(
    tree: Path,
    indexes: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def half(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        listed = opened(tree)
    assert "(No space left on device): every start lists all folders" in caplog.text
    assert list(indexes.iterdir()) == []
    assert listed == opened_plainly(tree)


def test_off_and_no_home_mean_no_index(
    tree: Path, tmp_path: Path, indexes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_plainly(tree)
    monkeypatch.delenv("SCAE_INDEX_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # what it does without a home
    assert opened(tree) == opened_plainly(tree)
    assert not indexes.exists()
    assert not (Path.cwd() / "~").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize("set_to", ["absolute", "relative", "unset"])
def test_the_users_cache_folder_is_the_default(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_to: str
) -> None:
    monkeypatch.delenv("SCAE_INDEX_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if set_to != "unset":
        # The rules of XDG ignore a relative one.
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c") if set_to == "absolute" else "c")
    opened(tree)
    cache = tmp_path / "c" if set_to == "absolute" else tmp_path / "home/.cache"
    (path,) = (cache / "scae/indexes").iterdir()
    assert path.suffix == ".index"
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_indexes_of_data_that_is_gone_are_removed_after_a_day(
    tree: Path, tmp_path: Path, indexes: Path
) -> None:
    gone, young = make_tree(tmp_path / "gone"), make_tree(tmp_path / "young")
    for place in (gone, young, tree):
        opened(place)
    by_base = {read_base(path): path for path in indexes.iterdir()}
    for place in (gone, young):
        shutil.rmtree(place)
    day_ago = time.time() - 86_401
    for place in (gone, tree):
        os.utime(by_base[str(place)], (day_ago, day_ago))
    (indexes / "notes.index").write_text("not ours")
    os.utime(indexes / "notes.index", (day_ago, day_ago))
    write(tree / "bee/new.jpg", 4)
    opened(tree)
    left = {by_base[str(tree)], by_base[str(young)], indexes / "notes.index"}
    assert set(indexes.iterdir()) == left


def _open_at_once(root: str, start: Any, results: Queue[str]) -> None:  # noqa: ANN401  # a Barrier
    start.wait()
    results.put(FolderData(root).fingerprint)


def test_processes_that_start_at_once_leave_one_whole_index(
    tree: Path, indexes: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = multiprocessing.get_context("fork")
    settle()
    for _ in range(5):
        barrier, results = context.Barrier(4), context.Queue()
        processes = [
            context.Process(target=_open_at_once, args=(str(tree), barrier, results))
            for _ in range(4)
        ]
        for process in processes:
            process.start()
        found = {results.get(timeout=60) for _ in processes}
        for process in processes:
            process.join()
        assert found == {opened_plainly(tree)[1]}
        (path,) = indexes.iterdir()
        assert opened(tree) == opened_plainly(tree)
        path.unlink()
    assert not caplog.text


def _die_writing(root: str) -> None:
    Path.replace = lambda *_args: os._exit(9)  # type: ignore[method-assign]
    FolderData(root)


def test_what_a_killed_process_left_is_swept_away(tree: Path, indexes: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_die_writing, args=(str(tree),))
    process.start()
    process.join()
    assert process.exitcode == 9
    (left,) = indexes.iterdir()
    assert left.suffix == ".partial"
    opened(tree)
    (path,) = indexes.iterdir()
    assert path.suffix == ".index"
