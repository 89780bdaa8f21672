"""Parts of a refresh that know nothing of each other, and the step that publishes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cache_store.errors import CacheNotFoundError
from cache_store.store import SaliencyStore
from pipeline.errors import RefreshError
from pipeline.refresh.blocks import cut_blocks
from pipeline.refresh.job import execute
from pipeline.refresh.part import Part
from pipeline.refresh.parts import PartReport, execute_part, finalize
from pipeline.refresh.plan import RefreshOptions, RefreshPlan, plan_refresh
from pipeline.refresh.sources import DataSource, NetworkSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from loaders.image_data import ArrayData

OPTIONS = RefreshOptions(size=16, batch_size=4, block_rows=8, chunk_rows=4)
NETWORK = NetworkSource(name="resnet8", num_classes=4)


def _plan(data: ArrayData, cache: Path, options: RefreshOptions = OPTIONS) -> RefreshPlan:
    return plan_refresh(DataSource(name="toy"), NETWORK, cache, options, opened=data)


def _part(data: ArrayData, cache: Path, text: str) -> PartReport:
    return execute_part(_plan(data, cache), Part.parse(text), opened=data)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_every_block_belongs_to_exactly_one_part(count: int) -> None:
    blocks = cut_blocks(61, 8)
    shares = [Part(index, count).of(blocks) for index in range(1, count + 1)]
    assert sorted(block.number for share in shares for block in share) == list(range(len(blocks)))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/", "-1/3", "1/0"])
def test_impossible_parts_are_refused(text: str) -> None:
    with pytest.raises(RefreshError, match=r"part must be K/N"):
        Part.parse(text)


def test_parts_in_any_order_publish_what_one_job_publishes(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    data, cache = toy_images(), tmp_path / "c"
    reports = [_part(data, cache, f"{index}/3") for index in (2, 3, 1)]
    assert [report.num_blocks for report in reports] == [2, 1, 2]
    assert SaliencyStore.open(cache).generations() == ()
    report = finalize(_plan(data, cache), num_parts=3)
    alone = execute(_plan(data, tmp_path / "alone"), opened=data)
    assert report.generation.digest == alone.generation.digest
    assert not report.reused


def test_missing_parts_and_blocks_are_named(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    data, cache = toy_images(), tmp_path / "c"
    _part(data, cache, "2/3")
    with pytest.raises(RefreshError, match=r"3 of 5 .* parts 1/3, 3/3 \(blocks 0, 2-3\): run them"):
        finalize(_plan(data, cache), num_parts=3)
    with pytest.raises(RefreshError, match=r"missing, blocks 0, 2-3: run the parts"):
        finalize(_plan(data, cache))
    assert SaliencyStore.open(cache).generations() == ()


def test_parts_of_different_plans_never_mix(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    data, cache = toy_images(), tmp_path / "c"
    other = RefreshOptions(size=16, batch_size=5, block_rows=8, chunk_rows=4)
    first = _part(data, cache, "1/2")
    second = execute_part(_plan(data, cache, other), Part(2, 2), opened=data)
    assert (first.generation, second.generation) == (1, 2)
    with pytest.raises(RefreshError, match=r"part 2/2 \(blocks 1, 3\)"):
        finalize(_plan(data, cache), num_parts=2)


def test_finalize_with_other_options_than_the_parts_names_the_difference(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    data, cache = toy_images(), tmp_path / "c"
    _part(data, cache, "1/1")
    other = RefreshOptions(size=16, batch_size=5, block_rows=8, chunk_rows=4)
    with pytest.raises(
        RefreshError, match=r"generation 1 differs in batch_size \(4 there, 5 here\): give --final"
    ):
        finalize(_plan(data, cache, other))
    assert SaliencyStore.open(cache).unfinished().keys() == {1}


def test_a_part_started_again_does_only_what_is_missing(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    data, cache = toy_images(), tmp_path / "c"
    _part(data, cache, "1/3")
    again = _part(data, cache, "1/3")
    assert (again.num_rows, again.num_rows_found, again.published) == (16, 16, False)


def test_part_and_finalize_after_publication_do_nothing(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    data, cache = toy_images(), tmp_path / "c"
    _part(data, cache, "1/1")
    finalize(_plan(data, cache))
    assert _part(data, cache, "1/2").published
    assert finalize(_plan(data, cache)).reused
    assert SaliencyStore.open(cache).generations() == (1,)


def test_a_part_beyond_the_last_block_has_nothing_to_do(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    report = _part(toy_images(), tmp_path / "c", "7/9")
    assert (report.num_blocks, report.num_rows) == (0, 0)


def test_finalize_without_a_cache_makes_none(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    with pytest.raises(CacheNotFoundError, match="no cache at"):
        finalize(_plan(toy_images(), tmp_path / "c"))
    assert not (tmp_path / "c").exists()
