from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cache_store.errors import DamagedCacheError, StoreError
from cache_store.export import export_generation
from cache_store.gains import gains_and_floors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cache_store.generation import Generation
    from cache_store.store import SaliencyStore


@pytest.fixture
def generation(
    tmp_path: Path, make_store: Callable[..., SaliencyStore], publish: Callable[..., Generation]
) -> Generation:
    """One generation of 20 formula maps."""
    return publish(make_store(tmp_path / "c"))


def test_export_holds_every_value(
    tmp_path: Path, generation: Generation, formula_maps: Callable[..., NDArray[np.uint8]]
) -> None:
    size = export_generation(generation, tmp_path / "out.npz")
    assert size == (tmp_path / "out.npz").stat().st_size
    with np.load(tmp_path / "out.npz", allow_pickle=False) as found:
        maps = formula_maps(0, 20)
        gains, floors = gains_and_floors(maps, (32, 32))
        np.testing.assert_array_equal(found["maps"], maps, strict=True)
        np.testing.assert_array_equal(found["gain"], gains, strict=True)
        np.testing.assert_array_equal(found["floor"], floors, strict=True)
        probability = (maps[:, 0, 0] / 256).astype(np.float32)
        np.testing.assert_array_equal(found["probability"], probability, strict=True)
        np.testing.assert_array_equal(found["label"], np.arange(20) % 4, strict=True)
        ids = np.arange(100, 120, dtype=np.uint64)
        np.testing.assert_array_equal(found["sample_id"], ids, strict=True)
        made_from = json.loads(str(found["provenance"]))
    assert made_from["digest"] == generation.digest
    assert made_from["provenance"] == generation.provenance.as_dict()


def test_export_replaces_a_file_only_when_forced(tmp_path: Path, generation: Generation) -> None:
    out = tmp_path / "out.npz"
    out.write_bytes(b"mine")
    with pytest.raises(StoreError, match=r"out\.npz is there already.*--force"):
        export_generation(generation, out)
    assert out.read_bytes() == b"mine"
    export_generation(generation, out, force=True)
    with np.load(out) as found:
        assert len(found["maps"]) == 20


def test_failed_export_leaves_no_file(tmp_path: Path, generation: Generation) -> None:
    before = sorted(tmp_path.iterdir())
    (tmp_path / "c/generations/000001/probability/c/0").unlink()
    with pytest.raises(DamagedCacheError, match="probability/c/0"):
        export_generation(generation, tmp_path / "out.npz")
    with pytest.raises(DamagedCacheError, match="probability/c/0"):
        export_generation(generation, tmp_path / "out.npz", force=True)
    assert sorted(tmp_path.iterdir()) == before


def test_folder_that_is_not_there_is_named(tmp_path: Path, generation: Generation) -> None:
    with pytest.raises(StoreError, match=r"can't write .*nowhere.out\.npz: No such file"):
        export_generation(generation, tmp_path / "nowhere" / "out.npz")
