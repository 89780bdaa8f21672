"""The preview refuses in one line what it can't draw, and leaves what was there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cache_store.errors import CacheMismatchError, CacheNotFoundError
from cache_store.store import SaliencyStore
from loaders.errors import OptionError
from loaders.image_data import ArrayData
from pipeline.pictures.preview import PreviewOptions, write_preview
from tests.pictures.conftest import NAMES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeCache = Callable[..., SaliencyStore]


@pytest.mark.parametrize(
    ("options", "name", "error", "message"),
    [
        pytest.param({"rows": (3, 12)}, "a.png", OptionError, "[0, 12), got 12", id="row"),
        pytest.param({"rows": (-1,)}, "a.png", OptionError, "[0, 12), got -1", id="negative-row"),
        pytest.param({"ids": (5,)}, "a.png", OptionError, "id 0000000000000005", id="id"),
        pytest.param({"classes": ("3",)}, "a.png", OptionError, "[0, 3), got '3'", id="class"),
        pytest.param({"classes": ("and",)}, "a.png", OptionError, "did you mean ant?", id="typo"),
        pytest.param({}, "a.jpg", OptionError, "must end in .png or .html, got", id="not-png"),
        pytest.param({}, "no/a.png", OptionError, "a folder that is there, got", id="no-folder"),
        pytest.param({}, "folder.png", OptionError, "must be a file, got", id="is-folder"),
        pytest.param(
            {"generations": (1, 5)}, "a.png", CacheNotFoundError, "no generation 5", id="generation"
        ),
    ],
)
def test_preview_refuses_in_one_line_and_writes_nothing(
    tmp_path: Path,
    data: ArrayData,
    make_cache: MakeCache,
    options: dict[str, Any],
    name: str,
    error: type[Exception],
    message: str,
) -> None:
    make_cache(tmp_path / "maps.zarr", data)
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=re.escape(message)) as caught:
        write_preview(data, tmp_path / "maps.zarr", tmp_path / name, PreviewOptions(**options))
    assert "\n" not in str(caught.value)
    left = [path for path in sorted(tmp_path.iterdir()) if not path.name.startswith("scae-")]
    assert left == before


def test_preview_refuses_a_cache_without_generation_or_of_other_data(
    tmp_path: Path, data: ArrayData, make_cache: MakeCache
) -> None:
    other = ArrayData(data.images, data.labels, NAMES, name="other", origins=np.arange(12) + 50)
    make_cache(tmp_path / "empty.zarr", data, publish_maps=False)
    make_cache(tmp_path / "maps.zarr", data)
    with pytest.raises(CacheNotFoundError, match="no published generation: run 'scae refresh'"):
        write_preview(data, tmp_path / "empty.zarr", tmp_path / "a.png", PreviewOptions())
    with pytest.raises(CacheMismatchError, match="no row for 12 of the 12 samples"):
        write_preview(other, tmp_path / "maps.zarr", tmp_path / "a.png", PreviewOptions())


def test_preview_that_fails_leaves_the_picture_that_was_there(
    tmp_path: Path,
    data: ArrayData,
    make_cache: MakeCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_cache(tmp_path / "maps.zarr", data)
    out = tmp_path / "grid.png"
    out.write_bytes(b"before")

    replace = type(out).replace

    def refuse(self: Path, target: Path) -> Path:
        if target == out:
            raise PermissionError(13, "Permission denied")
        return replace(self, target)

    monkeypatch.setattr(type(out), "replace", refuse)
    with pytest.raises(OptionError, match=r"can't write preview .*: Permission denied; choose"):
        write_preview(data, tmp_path / "maps.zarr", out, PreviewOptions(num=1, lambdas=(0.0,)))
    assert out.read_bytes() == b"before"
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"num": 0}, "num of a preview must be in [1, 64], got 0", id="none"),
        pytest.param({"rows": (0,) * 65}, "number of rows of a preview must be in", id="rows"),
        pytest.param({"generations": (1,) * 5}, "must be 4 at most, got 5", id="generations"),
        pytest.param({"ids": (1,), "classes": ("a",)}, "got 1 of the former and 1", id="both"),
        pytest.param({"boxes": 101}, "boxes of a preview must be in [0, 100], got 101", id="boxes"),
        pytest.param({"lambdas": ()}, "1 to 12 finite numbers, got []", id="no-lambda"),
        pytest.param({"lambdas": (float("inf"),)}, "finite numbers, got [inf]", id="infinite"),
    ],
)
def test_preview_options_refuse_what_can_not_be_drawn(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        PreviewOptions(**options)
