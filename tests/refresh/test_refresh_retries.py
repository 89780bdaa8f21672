"""Blocks that fail: tried again, named, and no reason for the others to stop."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from cache_store.store import SaliencyStore
from loaders.image_data import ImageData
from pipeline.errors import BlocksFailed, RefreshError, Stopped
from pipeline.refresh import attempts, job
from pipeline.refresh.job import execute
from pipeline.refresh.plan import RefreshOptions, RefreshPlan, plan_refresh
from pipeline.refresh.progress import RefreshProgress
from pipeline.refresh.sources import DataSource, NetworkSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from loaders.image_data import ArrayData

NETWORK = NetworkSource(name="resnet8", num_classes=4)


class FlakyData(ImageData):
    """Images of which some can't be read the first few times, as on a tired file system."""

    def __init__(self, num: int, failing: dict[int, int]) -> None:
        ids = np.arange(num, dtype=np.uint64) + np.uint64(1)
        super().__init__(
            name="flaky",
            class_names=["a", "b", "c", "d"],
            labels=np.arange(num) % 4,
            sample_ids=ids,
            content_ids=ids,
        )
        self.failing = failing
        self.reads: Counter[int] = Counter()

    def describe(self, row: int) -> str:
        return f"flaky/{row}.jpg"

    def read(self, row: int) -> NDArray[np.uint8]:
        self.reads[row] += 1
        if self.reads[row] <= self.failing.get(row, 0):
            raise OSError(5, "Input/output error")
        return np.full((16, 16, 3), row % 256, np.uint8)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "PAUSE_SECONDS", 0.005)


def _plan(data: ImageData, cache: Path, retries: int = 2) -> RefreshPlan:
    options = RefreshOptions(
        size=16, batch_size=4, block_rows=8, chunk_rows=4, retries=retries, decode_threads=1
    )
    return plan_refresh(DataSource(name="flaky"), NETWORK, cache, options, opened=data)


def test_a_block_that_fails_twice_is_tried_a_third_time(tmp_path: Path) -> None:
    data = FlakyData(24, {9: 2})
    report = execute(_plan(data, tmp_path / "c"), opened=data)
    healthy = FlakyData(24, {})
    other = execute(_plan(healthy, tmp_path / "d"), opened=healthy)
    assert report.generation.digest == other.generation.digest
    assert data.reads[9] == 3


def test_a_block_that_keeps_failing_is_named_and_the_others_are_done(tmp_path: Path) -> None:
    data = FlakyData(40, {9: 99, 25: 99})
    states: list[RefreshProgress] = []
    with pytest.raises(
        BlocksFailed,
        match=r"2 of 5 blocks failed, nothing is published: block 1 \(tried 3 times\): "
        r"cannot read image flaky/9\.jpg, got OSError: .*; block 3 .*flaky/25\.jpg.*"
        r"run the same command again",
    ) as failed:
        execute(_plan(data, tmp_path / "c"), opened=data, progress=states.append)
    assert [failure.block for failure in failed.value.failures] == [1, 3]
    assert (states[-1].blocks_done, states[-1].blocks_failed, states[-1].rows_done) == (3, 2, 24)
    assert SaliencyStore.open(tmp_path / "c").generations() == ()
    data.failing.clear()
    report = execute(_plan(data, tmp_path / "c"), opened=data)
    assert report.num_rows_found == 24


def test_no_retries_means_one_attempt(tmp_path: Path) -> None:
    data = FlakyData(8, {3: 1})
    with pytest.raises(BlocksFailed, match=r"tried 1 times"):
        execute(_plan(data, tmp_path / "c", retries=0), opened=data)
    assert data.reads[3] == 1


def test_what_the_network_answers_is_not_asked_twice(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    data, built = toy_images(), NETWORK.build()
    with torch.no_grad():
        next(m for m in built.module.modules() if isinstance(m, nn.Linear)).bias[1] = torch.nan
    plan = plan_refresh(
        DataSource(name="toy"), NETWORK, tmp_path / "c", RefreshOptions(size=16), opened=data,
        built=built,
    )  # fmt: skip
    with pytest.raises(BlocksFailed, match=r"block 0 \(tried 1 times\): .*not finite.*toy\[0\]"):
        execute(plan, opened=data, built=built)


def test_a_job_gives_up_where_every_block_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "MAX_FAILURES", 2)
    data = FlakyData(80, dict.fromkeys(range(80), 99))
    with pytest.raises(BlocksFailed, match=r"2 of 10 blocks failed, and the job gave up"):
        execute(_plan(data, tmp_path / "c", retries=0), opened=data)
    assert max(data.reads) < 16


def test_a_stop_is_heard_between_two_attempts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "PAUSE_SECONDS", 60.0)
    data = FlakyData(8, {3: 99})
    with pytest.raises(Stopped, match="run the same command again"):
        execute(_plan(data, tmp_path / "c"), opened=data, stop=lambda: data.reads[3] > 0)


def test_progress_tells_speed_and_time_left(tmp_path: Path) -> None:
    data = FlakyData(24, {})
    states: list[RefreshProgress] = []
    execute(_plan(data, tmp_path / "c"), opened=data, progress=states.append)
    assert [state.blocks_done for state in states] == [0, 1, 2, 3]
    assert states[0].seconds_left is None
    assert (states[-1].rows_done, states[-1].seconds_left) == (24, 0.0)
    middle = states[1]
    assert middle.seconds_left == pytest.approx(2 * middle.seconds)
    assert middle.workers == 1


def test_negative_retries_are_refused() -> None:
    with pytest.raises(RefreshError, match="retries must be 0 or more, got -1"):
        RefreshOptions(retries=-1)
