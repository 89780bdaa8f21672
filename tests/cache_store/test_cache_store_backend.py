from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cache_store.backend import Backend, open_backend
from cache_store.errors import StoreError
from cache_store.local_backend import LocalBackend


@pytest.fixture(params=["local", "local-nofsync", "memory", "s3"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "s3":
        return open_backend(request.getfixturevalue("s3_url"))
    if request.param == "memory":
        return open_backend(f"memory://{request.node.name}")
    return open_backend(tmp_path / "root", fsync=request.param == "local")


def test_write_replaces_and_read_returns_the_last_bytes(backend: Backend) -> None:
    backend.write("a/b", b"one")
    backend.write("a/b", b"second")
    assert backend.read("a/b") == b"second"
    assert backend.length("a/b") == 6


def test_create_succeeds_once_even_with_equal_bytes(backend: Backend) -> None:
    assert backend.create("a/claim", b"mine")
    assert not backend.create("a/claim", b"mine")
    assert not backend.create("a/claim", b"yours")
    assert backend.read("a/claim") == b"mine"


def test_missing_objects_read_as_none_and_delete_quietly(backend: Backend) -> None:
    assert backend.read("nothing") is None
    assert backend.length("nothing") is None
    backend.delete("nothing")


def test_list_is_sorted_and_bound_to_the_folder(backend: Backend) -> None:
    for key in ("x/2", "x/1", "xy/3", "x/deep/4"):
        backend.write(key, key.encode())
    assert [info.key for info in backend.list("x")] == ["x/1", "x/2", "x/deep/4"]
    assert [info.length for info in backend.list("xy")] == [4]
    assert len(backend.list("")) == 4
    assert backend.list("none") == []


def test_delete_removes_the_object(backend: Backend) -> None:
    backend.write("a/b/c", b"1")
    backend.delete("a/b/c")
    assert backend.list("") == []


def test_modified_is_the_time_of_the_write_by_the_clock_of_now(backend: Backend) -> None:
    before = backend.now()
    backend.write("a/b", b"1")
    (info,) = backend.list("")
    after = backend.now()
    # S3 tells whole seconds, a file system the last tick of its clock.
    assert before - 0.05 <= info.modified <= after + 0.05
    assert abs(after - time.time()) < 5
    assert [info.key for info in backend.list("")] == ["a/b"]


def test_local_writes_leave_no_partial_file(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    backend.write("a/b", b"1")
    backend.create("a/c", b"1")
    backend.create("a/c", b"2")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b", "c"]


def test_local_listing_passes_over_files_still_being_written(tmp_path: Path) -> None:
    (tmp_path / "a.1234.partial").write_bytes(b"half")
    assert LocalBackend(tmp_path).list("") == []


def test_local_write_that_fails_names_the_path_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"can't make folder .*file/below"):
        LocalBackend(tmp_path).write("file/below/key", b"1")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("landed", [True, False])
def test_local_create_believes_the_link_not_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, landed: bool
) -> None:
    make_link = os.link

    def lose_answer(source: Path, target: Path) -> None:
        if landed:
            make_link(source, target)
        else:
            target.write_bytes(b"rival")
        raise FileExistsError(17, "File exists")

    monkeypatch.setattr(os, "link", lose_answer)
    backend = LocalBackend(tmp_path)
    assert backend.create("claim", b"mine") == landed
    assert backend.read("claim") == (b"mine" if landed else b"rival")
    assert [path.name for path in tmp_path.iterdir()] == ["claim"]


def test_local_create_without_hard_links_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_source: Path, _target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StoreError, match=r"can't link .*claim.*must have hard links"):
        LocalBackend(tmp_path).create("claim", b"mine")
    assert list(tmp_path.iterdir()) == []


class BesideADeletion(LocalBackend):
    """A backend beside which the last other file of a folder goes just after the folder's check."""

    deletions = 3

    def _make_folder(self, folder: Path) -> None:
        other = LocalBackend(self.root)
        super()._make_folder(folder)
        if self.deletions:
            self.deletions -= 1
            other.write("a/b/other", b"1")
            other.delete("a/b/other")
            assert not folder.exists()


@pytest.mark.parametrize("method", ["write", "create"])
def test_write_makes_its_folder_again_when_a_deletion_takes_it_away(
    tmp_path: Path, method: str
) -> None:
    backend = BesideADeletion(tmp_path)
    getattr(backend, method)("a/b/mine", b"2")
    assert backend.deletions == 0
    assert backend.read("a/b/mine") == b"2"
    assert backend.leftovers() == []


def test_folder_that_never_stays_is_named(tmp_path: Path) -> None:
    backend = BesideADeletion(tmp_path)
    backend.deletions = 1000
    with pytest.raises(StoreError, match=r"can't write .*mine .*vanishes again and again"):
        backend.write("a/b/mine", b"2")


@pytest.mark.parametrize("method", ["write", "create"])
def test_file_swept_away_before_it_is_whole_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    backend = LocalBackend(tmp_path)
    plain = LocalBackend._write_partial
    swept: list[Path] = []

    def sweep_the_first(self: LocalBackend, path: Path, data: bytes) -> Path:
        partial = plain(self, path, data)
        if not swept:
            swept.append(partial)
            partial.unlink()
        return partial

    monkeypatch.setattr(LocalBackend, "_write_partial", sweep_the_first)
    getattr(backend, method)("mine", b"2")
    assert backend.read("mine") == b"2"
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]


def test_unknown_scheme_is_refused_by_name() -> None:
    with pytest.raises(StoreError, match=r"got ftp://$"):
        open_backend("ftp://user:password@host/cache")


CLAIMS = """
import sys, time
from cache_store.backend import open_backend
url, name, start = sys.argv[1:]
backend = open_backend(url)
time.sleep(max(0.0, float(start) - time.time()))
print(sum(backend.create(f"claims/{number}", name.encode()) for number in range(100)))
"""


@pytest.mark.parametrize("place", ["local", "s3"])
def test_of_several_processes_exactly_one_creates_each_key(
    request: pytest.FixtureRequest, tmp_path: Path, place: str
) -> None:
    url = str(tmp_path) if place == "local" else request.getfixturevalue("s3_url")
    start = time.time() + 1  # for all at once
    processes = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", CLAIMS, url, name, str(start)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two", "three")
    ]
    wins = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert sum(wins) == 100
