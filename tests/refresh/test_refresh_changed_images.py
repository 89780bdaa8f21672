"""A refresh of a folder whose index is behind: files that were written anew in place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
from PIL import Image

from cache_store.errors import CacheMismatchError
from cache_store.store import SaliencyStore
from loaders.folder_data import FolderData
from pipeline.errors import BlockFailure, BlocksFailed
from pipeline.refresh.job import execute
from pipeline.refresh.part import Part
from pipeline.refresh.parts import execute_part
from pipeline.refresh.plan import RefreshOptions, RefreshPlan, plan_refresh
from pipeline.refresh.sources import DataSource, NetworkSource
from tests.loaders.index_trees import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from pipeline.refresh.blocks import Block
    from pipeline.refresh.runner import StopRequested

CHANGED = 13
"""Row of the file that changes: dog/03.jpg."""


@pytest.fixture
def photos(jpeg_folder: Callable[..., Path], indexes: Path) -> Path:  # comes first
    """30 photographs in a folder that has an index which dog/03.jpg does not fit any more."""
    folder = jpeg_folder()
    settle()
    FolderData(folder)
    with (folder / "dog/03.jpg").open("r+b") as file:
        Image.new("RGB", (40, 40), (200, 0, 0)).save(file, "JPEG")
        file.truncate()
    return folder


def _plan(folder: Path, cache: Path, on_error: Literal["raise", "skip"] = "raise") -> RefreshPlan:
    network = NetworkSource(name="resnet8", num_classes=3)
    options = RefreshOptions(
        size=16, batch_size=4, block_rows=8, chunk_rows=4, retries=0, on_error=on_error
    )
    return plan_refresh(DataSource(name=str(folder)), network, cache, options)


@pytest.mark.parametrize("part", [None, Part(1, 1)], ids=["whole", "part"])
def test_a_changed_file_fails_its_block_by_name_and_the_next_start_lists_it(
    photos: Path, tmp_path: Path, indexes: Path, part: Part | None
) -> None:
    plan = _plan(photos, tmp_path / "c")
    with pytest.raises(BlocksFailed, match=re.escape(f"image {photos}/dog/03.jpg has changed")):
        execute(plan) if part is None else execute_part(plan, part)
    assert SaliencyStore.open(tmp_path / "c").generations() == ()
    assert list(indexes.iterdir()) == []
    # The same command again sees other data, and makes maps of it where the cache is for that.
    again = _plan(photos, tmp_path / "c")
    with pytest.raises(CacheMismatchError):
        execute(again)
    generation = execute(_plan(photos, tmp_path / "new")).generation
    assert generation.manifest.skipped == ()


def test_on_error_skip_gives_a_changed_file_a_flat_map(photos: Path, tmp_path: Path) -> None:
    """A map of what is there now would pass for one of the file that the cache was made for."""
    generation = execute(_plan(photos, tmp_path / "c", on_error="skip")).generation
    assert generation.manifest.skipped == (CHANGED,)
    assert not np.asarray(generation.saliency[CHANGED]).any()


class _Elsewhere:
    """Stands in for workers on another machine, whose index is a file of their own."""

    num_workers = 1
    dashboard = None

    def run(
        self, plan: RefreshPlan, number: int, blocks: Sequence[Block], stop: StopRequested
    ) -> Generator[BlockFailure]:
        del plan, number, stop
        for block in blocks:
            yield BlockFailure(block.number, 1, "an image has changed")


def test_a_change_that_another_machine_saw_has_the_data_listed_anew(
    photos: Path, tmp_path: Path, indexes: Path
) -> None:
    plan = _plan(photos, tmp_path / "c")
    assert len(list(indexes.iterdir())) == 1
    with pytest.raises(BlocksFailed, match="an image has changed"):
        execute(plan, _Elsewhere())
    assert list(indexes.iterdir()) == []
