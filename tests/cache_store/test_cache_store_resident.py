from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import stat
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cache_store.arrays import decode_object, encode_object, saliency_spec
from cache_store.errors import CacheFormatError, CacheNotFoundError, DamagedCacheError, StoreError
from cache_store.gains import gains_and_floors
from cache_store.resident import collect_resident, open_resident, resident_folder
from cache_store.resident_claim import claimed, is_left_behind, owner_name, partial_path
from cache_store.resident_file import decode_shard, write_file
from cache_store.store import SaliencyStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cache_store.generation import Generation

    Publish = Callable[..., Generation]
    MakeStore = Callable[..., SaliencyStore]


@pytest.fixture
def generation(tmp_path: Path, make_store: MakeStore, publish: Publish) -> Generation:
    return publish(make_store(tmp_path / "c"))


def test_resident_maps_equal_the_stored_ones(
    generation: Generation, formula_maps: Callable[..., NDArray[np.uint8]]
) -> None:
    resident = generation.resident()
    np.testing.assert_array_equal(resident.maps, formula_maps(0, 20))
    gains, floors = gains_and_floors(formula_maps(0, 20), (32, 32))
    np.testing.assert_array_equal(resident.gains, gains)
    np.testing.assert_array_equal(resident.floors, floors)
    assert (resident.generation, resident.digest) == (1, generation.digest)
    assert resident.size == 32


def test_resident_maps_are_read_only(generation: Generation) -> None:
    with pytest.raises(ValueError, match="read-only"):
        generation.resident().maps[0] = 0


def test_second_opener_uses_the_file_that_is_there(generation: Generation) -> None:
    path = generation.resident().path
    before = path.stat()
    assert generation.resident().path == path
    assert path.stat().st_ino == before.st_ino


@pytest.mark.parametrize("position", [0, 20, 4096, -1])
def test_a_changed_resident_file_is_made_anew(
    generation: Generation, formula_maps: Callable[..., NDArray[np.uint8]], position: int
) -> None:
    path = generation.resident().path
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    np.testing.assert_array_equal(generation.resident().maps, formula_maps(0, 20))
    assert path.read_bytes() != bytes(data)


def test_a_short_resident_file_is_made_anew(generation: Generation) -> None:
    path = generation.resident().path
    data = path.read_bytes()
    path.write_bytes(data[:-4])
    assert len(generation.resident()) == 20
    assert path.read_bytes() == data


def test_folder_is_private_and_holds_only_the_file(generation: Generation) -> None:
    folder = generation.resident().path.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(list(folder.iterdir())) == 1


def test_folder_choice_follows_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCAE_RESIDENT_DIR")
    monkeypatch.setenv("SLURM_TMPDIR", str(tmp_path / "slurm"))
    assert resident_folder().parent == tmp_path / "slurm"
    monkeypatch.setenv("SCAE_RESIDENT_DIR", str(tmp_path / "own"))
    assert resident_folder().parent == tmp_path / "own"
    assert resident_folder(tmp_path / "given").parent == tmp_path / "given"


def test_a_folder_that_cannot_be_made_names_the_cure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="set SCAE_RESIDENT_DIR to another"):
        resident_folder(tmp_path / "file")


# --- Decoding


@pytest.mark.parametrize("num", [1, 7, 8, 9, 16, 23])
def test_shards_decode_as_zarr_decodes_them(num: int) -> None:
    maps = np.random.default_rng(num).integers(0, 256, (num, 5, 3), np.uint8)
    spec = saliency_spec("g", num, (5, 3), 8, 4)
    for number in range(spec.num_objects):
        rows = maps[number * 8 : (number + 1) * 8]
        data = encode_object(spec, number, rows)
        decoded = np.zeros_like(rows)
        decode_shard(spec, number, data, decoded)
        np.testing.assert_array_equal(decoded, decode_object(spec, number, data))
        np.testing.assert_array_equal(decoded, rows)


def test_a_shard_of_zeros_decodes_to_zeros() -> None:
    spec = saliency_spec("g", 8, (2, 2), 8, 4)
    rows = np.ones((8, 2, 2), np.uint8)
    decode_shard(spec, 0, encode_object(spec, 0, np.zeros_like(rows)), rows)
    assert not rows.any()


@pytest.mark.parametrize("data", [b"", b"x" * 10, b"\xff" * 300, b"\0" * 300])
def test_bytes_that_are_no_shard_are_refused(data: bytes) -> None:
    spec = saliency_spec("g", 8, (2, 2), 8, 4)
    with pytest.raises(CacheFormatError, match="c/0/0/0 can't be decoded"):
        decode_shard(spec, 0, data, np.zeros((8, 2, 2), np.uint8))


def test_maps_laid_out_in_another_way_are_left_to_zarr(
    generation: Generation, monkeypatch: pytest.MonkeyPatch, formula_maps: Callable[..., object]
) -> None:
    monkeypatch.setattr("cache_store.resident_file.encode_metadata", lambda _: b"other")
    np.testing.assert_array_equal(generation.resident().maps, formula_maps(0, 20))


# --- Several processes


def _fork(work: Callable[[], None]) -> multiprocessing.context.ForkProcess:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def test_several_processes_at_once_do_the_work_once(
    tmp_path: Path, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = tmp_path / "written"

    def slow(path: Path, of: Generation) -> None:
        with written.open("a") as log:
            log.write("x")
        time.sleep(0.3)
        write_file(path, of)

    monkeypatch.setattr("cache_store.resident.write_file", slow)
    expected = generation.saliency[:]

    def read() -> None:
        found = SaliencyStore.open(generation.url).latest().resident()
        if not np.array_equal(found.maps, np.asarray(expected)):
            os._exit(3)

    processes = [_fork(read) for _ in range(5)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 5
    assert written.read_text() == "x"
    assert len(list(resident_folder().iterdir())) == 1


def test_what_a_killed_process_left_is_swept_and_its_work_taken_over(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr("cache_store.resident_file._decode_shards", die)
        process = _fork(lambda: print(generation.resident().path))  # noqa: T201
        process.join(60)
    assert process.exitcode == -signal.SIGKILL
    left = sorted(path.name for path in resident_folder().iterdir())
    assert [name.rsplit(".", 1)[1] for name in left] == ["partial", "claim"]
    started = time.monotonic()
    path = generation.resident().path
    assert time.monotonic() - started < 5
    assert [other.name for other in path.parent.iterdir()] == [path.name]


def test_a_live_claimer_is_waited_for_but_not_for_ever(
    generation: Generation, caplog: pytest.LogCaptureFixture
) -> None:
    path = resident_folder() / f"{generation.digest[:40]}.maps"
    with claimed(path, path.exists, 1.0) as to_do:
        assert to_do
        started = time.monotonic()
        resident = open_resident(generation, wait_seconds=0.2)
        assert time.monotonic() - started >= 0.2
    assert len(resident) == 20
    assert "is still held" in caplog.text
    assert len(list(resident_folder().iterdir())) == 1


def test_a_claim_of_a_reused_process_id_counts_as_left_behind(tmp_path: Path) -> None:
    host, pid, started = owner_name().split("+")
    claim = tmp_path / "x.claim"
    claim.write_text(f"{host}+{pid}+{started}")
    assert not is_left_behind(claim)
    claim.write_text(f"{host}+{pid}+{int(started) - 1}")
    assert is_left_behind(claim)


def test_a_claim_works_where_files_can_not_be_linked(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    path = resident_folder() / f"{generation.digest[:40]}.maps"
    with (
        claimed(path, path.exists, 1.0) as first,
        claimed(path, path.exists, 0.05) as second,  # waits in vain, then works without a claim
    ):
        assert (first, second) == (True, True)
    assert len(generation.resident()) == 20
    assert len(list(resident_folder().iterdir())) == 1


def test_files_of_other_hosts_are_left_alone_for_a_day(tmp_path: Path) -> None:
    claim = tmp_path / "x.claim"
    claim.write_text("elsewhere+1+1")
    assert not is_left_behind(claim)
    os.utime(claim, (time.time() - 90_000,) * 2)
    assert is_left_behind(claim)


def test_partial_files_of_live_processes_stay(generation: Generation) -> None:
    mine = partial_path(resident_folder() / "other.maps")
    mine.write_bytes(b"")
    generation.resident()
    assert mine.exists()


# --- No room


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(StoreError, match=r"No space left.*SCAE_RESIDENT_DIR to a folder with"):
            generation.resident()
    assert list(resident_folder().iterdir()) == []
    assert len(generation.resident()) == 20


def test_the_kernels_own_refusal_of_room_is_a_clear_error_too(generation: Generation) -> None:
    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            generation.resident()
        except StoreError as error:
            os._exit(7 if "File too large" in str(error) else 8)

    process = _fork(limited)
    process.join(60)
    assert process.exitcode == 7
    assert list(resident_folder().iterdir()) == []


def test_a_damaged_shard_leaves_neither_file_nor_claim(generation: Generation) -> None:
    shard = f"{generation.url}/generations/000001/saliency/c/1/0/0"
    with open(shard, "r+b") as file:  # noqa: PTH123  # the URL is a local path's text
        file.write(b"?")
    with pytest.raises(DamagedCacheError, match="has changed since publication"):
        generation.resident()
    assert list(resident_folder().iterdir()) == []


def test_a_generation_collected_meanwhile_says_so(
    tmp_path: Path, make_store: MakeStore, publish: Publish
) -> None:
    store = make_store(tmp_path / "d")
    old = publish(store)
    publish(store, weights="1", salt=1)
    store.gc(keep=1, grace_seconds=0)
    with pytest.raises(CacheNotFoundError, match=r"generation 1 .* was collected"):
        old.resident()


# --- Files of generations that are gone


def test_files_of_collected_generations_and_lost_caches_can_be_removed(
    tmp_path: Path, make_store: MakeStore, publish: Publish
) -> None:
    store, lost = make_store(tmp_path / "c"), make_store(tmp_path / "lost")
    paths = [publish(store, weights=str(n), salt=n).resident().path for n in range(2)]
    paths.append(publish(lost, weights="5", salt=5).resident().path)
    assert collect_resident().removed == ()
    store.gc(keep=1, grace_seconds=0)
    shutil.rmtree(tmp_path / "lost")
    planned = collect_resident(dry_run=True)
    assert all(path.exists() for path in paths)
    report = collect_resident()
    assert sorted(report.removed) == sorted([paths[0], paths[2]])
    assert (planned.removed, planned.dry_run) == (report.removed, True)
    assert report.held == {paths[1]: f"generation 2 of {store.url}"}
    assert report.freed_bytes > 2 * 4096
    assert list(resident_folder().iterdir()) == [paths[1]]


def test_leftovers_and_unreadable_files_are_removed_foreign_ones_stay(
    generation: Generation,
) -> None:
    kept = generation.resident().path
    notes, broken = kept.parent / "notes.txt", kept.parent / "0.maps"
    old = kept.parent / "x.maps+1+elsewhere+1+1.partial"
    for path in (notes, broken, old):
        path.write_text("?")
    os.utime(old, (1e9, 1e9))
    assert sorted(collect_resident().removed) == sorted([broken, old])
    assert sorted(kept.parent.iterdir()) == sorted([kept, notes])
