"""Every byte under a cache is accounted for, and what is wrong is named."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from cache_store.errors import CacheNotFoundError
from cache_store.local_backend import LocalBackend
from cache_store.records import encode_record
from cache_store.store import SaliencyStore
from cache_store.verify import verify_cache

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cache_store.generation import Generation
    from cache_store.writer import GenerationPlan

    Publish = Callable[..., Generation]
    MakeStore = Callable[..., SaliencyStore]


@pytest.fixture
def cache(tmp_path: Path, make_store: MakeStore, publish: Publish) -> Path:
    """Two published generations."""
    store = make_store(tmp_path / "c")
    publish(store)
    publish(store, weights="1", salt=1)
    return tmp_path / "c"


def _files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


@pytest.mark.parametrize("threads", [1, 4])
def test_a_whole_cache_is_ok_and_every_object_is_checked(cache: Path, threads: int) -> None:
    report = verify_cache(cache, threads=threads)
    assert report.ok
    assert report.checked == len(_files(cache))
    assert (report.foreign, report.leftovers, report.unverifiable) == ((), (), ())


def test_every_deleted_or_changed_file_is_named_and_nothing_else(cache: Path) -> None:
    for path in _files(cache):
        key, data = path.relative_to(cache).as_posix(), path.read_bytes()
        path.unlink()
        assert list(verify_cache(cache, threads=1).damaged) == [key]
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        report = verify_cache(cache, threads=1)
        assert list(report.damaged) == [key]
        assert key in report.damaged[key]
        assert not report.foreign
        path.write_bytes(data)
    assert verify_cache(cache).ok


def test_data_of_a_generation_without_its_manifest_is_unverifiable_not_foreign(
    cache: Path,
) -> None:
    manifest = cache / "_scae/manifests/000001.json"
    manifest.write_bytes(manifest.read_bytes()[:-9])
    report = verify_cache(cache)
    assert list(report.damaged) == ["_scae/manifests/000001.json"]
    assert report.foreign == ()
    assert "generations/000001/saliency/c/0/0/0" in report.unverifiable
    assert all(key.startswith("generations/000001/") for key in report.unverifiable)


def test_records_that_changed_places_are_both_named(cache: Path) -> None:
    for folder in ("plans", "manifests", "published"):
        paths = [cache / f"_scae/{folder}/00000{number}.json" for number in (1, 2)]
        contents = [path.read_bytes() for path in paths]
        for path, data in zip(paths, reversed(contents), strict=True):
            path.write_bytes(data)
        named = [path.relative_to(cache).as_posix() for path in paths]
        assert set(named) <= set(verify_cache(cache).damaged)
        for path, data in zip(paths, contents, strict=True):
            path.write_bytes(data)


def test_reformatted_record_counts_as_changed(cache: Path) -> None:
    path = cache / "_scae/identity.json"
    path.write_bytes(path.read_bytes() + b"\n")
    assert "_scae/identity.json" in verify_cache(cache).damaged


@pytest.mark.parametrize(
    "key",
    [
        "notes.txt",
        "generations/000001/extra/c/0",
        "generations/000001/saliency/c/9/0/0",
        "generations/x/zarr.json",
        "samples/weight/zarr.json",
        "_scae/plans/1.json",
        "_scae/receipts/000001/readme",
    ],
)
def test_foreign_files_are_named(cache: Path, key: str) -> None:
    (cache / key).parent.mkdir(parents=True, exist_ok=True)
    (cache / key).write_bytes(b"?")
    report = verify_cache(cache)
    assert report.foreign == (key,)
    assert not report.damaged
    assert not report.ok


def test_leftovers_are_listed_and_are_no_harm(
    cache: Path,
    make_store: MakeStore,
    make_plan: Callable[..., GenerationPlan],
    write_block: Callable[..., None],
) -> None:
    writer = make_store(cache).begin(make_plan(weights="2"))
    write_block(writer, 1)
    partial = cache / "generations/000001/saliency/c/0/0/0.abc.partial"
    partial.write_bytes(b"half")
    report = verify_cache(cache)
    assert report.ok
    assert report.leftovers == (
        "_scae/receipts/000003/000001.json",
        partial.relative_to(cache).as_posix(),
        "generations/000003/saliency/c/1/0/0",
    )


def test_publisher_that_stopped_before_the_pointer_is_no_damage(
    tmp_path: Path, make_store: MakeStore, publish: Publish
) -> None:
    store = make_store(tmp_path / "c")
    publish(store)
    (tmp_path / "c/_scae/published/000001.json").unlink()
    receipt = tmp_path / "c/_scae/receipts/000001/000000.json"
    receipt.parent.mkdir(parents=True)
    receipt.write_bytes(encode_record({}))
    report = verify_cache(tmp_path / "c")
    assert report.ok
    assert "generations/000001/saliency/c/0/0/0" in report.leftovers


def test_one_generation_can_be_checked_alone(cache: Path) -> None:
    (cache / "generations/000001/probability/c/0").unlink()
    (cache / "notes.txt").write_bytes(b"?")
    assert verify_cache(cache, generations=[2]).ok
    damaged = verify_cache(cache, generations=[1]).damaged
    assert list(damaged) == ["generations/000001/probability/c/0"]
    with pytest.raises(CacheNotFoundError, match=r"no generation 7 in cache .*published are: 1, 2"):
        verify_cache(cache, generations=[7])


def test_generation_collected_during_the_check_is_not_damage(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = LocalBackend.read

    def read(self: LocalBackend, key: str) -> bytes | None:
        if key == "generations/000001/saliency/c/0/0/0":
            for path in _files(cache):
                if "000001" in path.as_posix():
                    path.unlink()
        return plain(self, key)

    monkeypatch.setattr(LocalBackend, "read", read)
    assert verify_cache(cache, threads=1).ok


def test_no_cache_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CacheNotFoundError, match="no cache at"):
        verify_cache(tmp_path / "none")


def test_collection_that_was_killed_anywhere_leaves_no_damage(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0

    def killed_at(last: int, method: str) -> Callable[..., object]:
        plain = getattr(LocalBackend, method)

        def step(self: LocalBackend, *words: object) -> object:
            nonlocal steps
            steps += 1
            if steps > last:
                raise RuntimeError
            return plain(self, *words)

        return step

    for last in range(60):
        steps, copy = 0, shutil.copytree(cache, tmp_path / f"copy{last}")
        with monkeypatch.context() as patch:
            for method in ("write", "create", "delete"):
                patch.setattr(LocalBackend, method, killed_at(last, method))
            try:
                SaliencyStore.open(copy, "r+").gc(keep=1, grace_seconds=0)
                break
            except RuntimeError:
                pass
        report = verify_cache(copy, threads=1)
        assert report.ok, (last, report)
    assert last > 10


@pytest.mark.parametrize("key", ["zarr.json", "samples/label/c/0", "samples/sample_id/zarr.json"])
def test_damage_before_the_first_publication_is_named(
    tmp_path: Path, make_store: MakeStore, make_plan: Callable[..., GenerationPlan], key: str
) -> None:
    make_store(tmp_path / "c").begin(make_plan())
    assert verify_cache(tmp_path / "c").ok
    path = tmp_path / "c" / key
    path.write_bytes(path.read_bytes()[:-3])
    assert list(verify_cache(tmp_path / "c").damaged) == [key]
    path.unlink()
    assert list(verify_cache(tmp_path / "c").damaged) == [key]
