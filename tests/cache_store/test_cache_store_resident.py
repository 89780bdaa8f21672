from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cache_store.errors import StoreError
from cache_store.resident import resident_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cache_store.generation import Generation
    from cache_store.store import SaliencyStore

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
    np.testing.assert_array_equal(resident.gains, generation.column("gain"))
    np.testing.assert_array_equal(resident.floors, generation.column("floor"))
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
