from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

import pytest

from cache_store.backend import Backend, open_backend
from cache_store.errors import StoreError
from cache_store.local_backend import LocalBackend

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["local", "local-nofsync", "memory"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
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


def test_unknown_scheme_is_refused_by_name() -> None:
    with pytest.raises(StoreError, match="got ftp://"):
        open_backend("ftp://host/cache")


def _claim(root: str, name: int, queue: multiprocessing.Queue[int]) -> None:
    backend = open_backend(root)
    won = sum(backend.create(f"claims/{i}", b"%d" % name) for i in range(100))
    queue.put(won)


def test_of_several_processes_exactly_one_creates_each_key(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[int] = context.Queue()
    processes = [
        context.Process(target=_claim, args=(str(tmp_path), name, queue)) for name in range(3)
    ]
    for process in processes:
        process.start()
    wins = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sum(wins) == 100
