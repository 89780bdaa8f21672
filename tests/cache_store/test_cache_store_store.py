"""A store is made, opened and read, and refuses what is not its own or has changed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray
import zarr

from cache_store.errors import (
    CacheFormatError,
    CacheMismatchError,
    CacheNotFoundError,
    DamagedCacheError,
    PublishConflictError,
    StoreError,
)
from cache_store.layout import manifest_key, published_key
from cache_store.local_backend import LocalBackend
from cache_store.records import encode_record
from cache_store.store import SaliencyStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cache_store.generation import Generation
    from cache_store.writer import GenerationPlan

    Publish = Callable[..., Generation]
    MakeStore = Callable[..., SaliencyStore]
    MakePlan = Callable[..., GenerationPlan]
    Maps = Callable[..., NDArray[np.uint8]]


def test_published_maps_probabilities_and_samples_read_back(
    tmp_path: Path, make_store: MakeStore, publish: Publish, formula_maps: Maps
) -> None:
    publish(make_store(tmp_path / "c"))
    generation = SaliencyStore.open(tmp_path / "c").latest()
    maps = formula_maps(0, 20)
    np.testing.assert_array_equal(generation.saliency[:], maps)
    np.testing.assert_array_equal(generation.probabilities, maps[:, 0, 0] / 256)
    np.testing.assert_array_equal(generation.sample_ids, np.arange(20) + 100)
    np.testing.assert_array_equal(generation.labels, np.arange(20) % 4)
    assert generation.verify().ok


def test_plain_zarr_and_xarray_read_the_maps_as_fractions(
    tmp_path: Path, make_store: MakeStore, publish: Publish, formula_maps: Maps
) -> None:
    publish(make_store(tmp_path / "c"))
    group = zarr.open_group(str(tmp_path / "c" / "generations" / "000001"), mode="r")
    stored = group["saliency"]
    assert isinstance(stored, zarr.Array)
    np.testing.assert_array_equal(np.asarray(stored[:]), formula_maps(0, 20))
    with xarray.open_zarr(
        str(tmp_path / "c"), group="generations/000001", consolidated=False
    ) as data:
        np.testing.assert_allclose(data["saliency"].values, formula_maps(0, 20) / 255, atol=1e-6)


def _data_keys(generation: Generation) -> list[str]:
    return sorted(generation.manifest.objects)


@pytest.mark.parametrize("change", ["flip", "truncate", "delete"])
def test_verify_names_every_changed_object(
    tmp_path: Path, make_store: MakeStore, publish: Publish, change: str
) -> None:
    generation = publish(make_store(tmp_path / "c"))
    for key in _data_keys(generation):
        path = tmp_path / "c" / key
        before = path.read_bytes()
        if change == "delete":
            path.unlink()
        else:
            flipped = bytes([before[0] ^ 1]) + before[1:]
            path.write_bytes(flipped if change == "flip" else before[:-1])
        assert list(generation.verify().damaged) == [key]
        path.write_bytes(before)
    assert generation.verify().ok


@pytest.mark.parametrize("change", ["flip", "delete"])
def test_no_reader_gets_rows_of_a_changed_shard(
    tmp_path: Path, make_store: MakeStore, publish: Publish, change: str
) -> None:
    publish(make_store(tmp_path / "c"))
    generation = SaliencyStore.open(tmp_path / "c").latest()
    shard = tmp_path / "c" / "generations/000001/saliency/c/1/0/0"
    data = shard.read_bytes()
    shard.unlink()
    if change == "flip":
        shard.write_bytes(data[:5] + bytes([data[5] ^ 1]) + data[6:])
    expected = "has changed since publication" if change == "flip" else "is missing"
    with pytest.raises(DamagedCacheError, match=expected):
        generation.saliency[:]
    with pytest.raises(DamagedCacheError, match=expected):
        generation.resident()
    assert list(tmp_path.glob("scae-*/*")) == []


@pytest.mark.parametrize("key", [manifest_key(1), published_key(1)])
def test_changed_bookkeeping_is_refused(
    tmp_path: Path, make_store: MakeStore, publish: Publish, key: str
) -> None:
    publish(make_store(tmp_path / "c"))
    path = tmp_path / "c" / key
    before = path.read_bytes()
    for position in range(0, len(before), max(1, len(before) // 40)):
        path.write_bytes(before[:position] + bytes([before[position] ^ 4]) + before[position + 1 :])
        with pytest.raises((DamagedCacheError, CacheFormatError)):
            SaliencyStore.open(tmp_path / "c").latest()


def test_foreign_file_in_a_generation_is_reported(
    tmp_path: Path, make_store: MakeStore, publish: Publish
) -> None:
    generation = publish(make_store(tmp_path / "c"))
    (tmp_path / "c" / "generations/000001/notes.txt").write_text("mine")
    assert generation.verify().foreign == ("generations/000001/notes.txt",)


def test_newer_format_is_refused_politely(
    tmp_path: Path, make_store: MakeStore, publish: Publish
) -> None:
    publish(make_store(tmp_path / "c"))
    path = tmp_path / "c" / "zarr.json"
    root: dict[str, Any] = json.loads(path.read_bytes())
    root["attributes"]["scae"]["format_version"] = 99
    path.write_text(json.dumps(root))
    with pytest.raises(CacheFormatError, match="format version 99, this scae reads up to 1"):
        SaliencyStore.open(tmp_path / "c")


def test_open_of_nothing_and_of_other_zarr_groups_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CacheNotFoundError, match=r"no cache at .*: make one with 'scae refresh'"):
        SaliencyStore.open(tmp_path / "none")
    zarr.create_group(str(tmp_path / "other"), zarr_format=3)
    with pytest.raises(CacheFormatError, match=r"no attribute .scae."):
        SaliencyStore.open(tmp_path / "other")


def test_create_refuses_a_folder_with_foreign_files(tmp_path: Path, make_store: MakeStore) -> None:
    (tmp_path / "thesis.tex").write_text("chapter 1")
    with pytest.raises(StoreError, match=r"neither empty nor a cache, it holds thesis.tex"):
        make_store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_create_for_other_data_is_refused_with_both_fingerprints(
    tmp_path: Path, make_store: MakeStore
) -> None:
    make_store(tmp_path / "c", 20)
    with pytest.raises(CacheMismatchError, match=r"20 samples .* ffffffffffff, .* has 21"):
        make_store(tmp_path / "c", 21)


def test_create_in_another_row_order_while_the_first_is_unfinished_is_refused(
    tmp_path: Path, make_store: MakeStore
) -> None:
    LocalBackend(tmp_path / "c").create(
        "_scae/identity.json", encode_record({"num_samples": 20, "rows": "other"})
    )
    with pytest.raises(PublishConflictError, match="another job is making cache"):
        make_store(tmp_path / "c")


def test_a_read_only_store_refuses_to_begin(
    tmp_path: Path, make_store: MakeStore, make_plan: MakePlan
) -> None:
    make_store(tmp_path / "c")
    with pytest.raises(StoreError, match=re.escape("open it with mode='r+'")):
        SaliencyStore.open(tmp_path / "c").begin(make_plan())


def test_unknown_generation_lists_those_there(
    tmp_path: Path, make_store: MakeStore, publish: Publish
) -> None:
    store = make_store(tmp_path / "c")
    publish(store)
    with pytest.raises(CacheNotFoundError, match=r"no generation 5 .* published are: 1"):
        store.generation(5)


def test_memory_store_publishes_and_reads(
    make_store: MakeStore, publish: Publish, formula_maps: Maps
) -> None:
    store = make_store("memory://test_memory_store")
    publish(store)
    opened = SaliencyStore.open("memory://test_memory_store").latest()
    np.testing.assert_array_equal(opened.resident().maps, formula_maps(0, 20))


def test_importing_the_store_loads_neither_torch_nor_dask() -> None:
    code = (
        "import sys, cache_store; cache_store.SaliencyStore; cache_store.ResidentMaps; "
        "print([m for m in ('torch', 'dask', 'distributed', 'loaders') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
