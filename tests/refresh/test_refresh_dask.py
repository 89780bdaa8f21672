from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from distributed import Client, LocalCluster

from loaders.errors import ImageReadError
from pipeline.errors import RefreshError
from pipeline.refresh.dask_cluster import ClusterOptions
from pipeline.refresh.dask_executor import DaskExecutor
from pipeline.refresh.job import execute
from pipeline.refresh.plan import RefreshOptions, RefreshPlan, plan_refresh
from pipeline.refresh.sources import DataSource, NetworkSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _plan(folder: Path, cache: str | Path) -> RefreshPlan:
    options = RefreshOptions(size=16, batch_size=4, block_rows=8, chunk_rows=4)
    network = NetworkSource(name="resnet8", num_classes=3)
    return plan_refresh(DataSource(name=str(folder)), network, cache, options)


def test_dask_workers_and_the_plain_loop_write_the_same_bytes(
    tmp_path: Path, jpeg_folder: Callable[..., Path]
) -> None:
    folder = jpeg_folder()
    seen: list[int] = []
    loop = execute(_plan(folder, tmp_path / "loop"))
    dask = execute(
        _plan(folder, tmp_path / "dask"),
        DaskExecutor(ClusterOptions(workers=2)),
        progress=lambda state: seen.append(state.rows_done),
    )
    assert loop.generation.digest == dask.generation.digest
    assert seen[0] == 0
    assert seen[-1] == 30
    assert len(seen) == 5
    for path in (tmp_path / "loop" / "generations").rglob("*"):
        if path.is_file():
            twin = (
                tmp_path / "dask" / "generations" / path.relative_to(tmp_path / "loop/generations")
            )
            assert twin.read_bytes() == path.read_bytes()


def test_errors_of_dask_workers_arrive_as_they_are(
    tmp_path: Path, jpeg_folder: Callable[..., Path]
) -> None:
    folder = jpeg_folder()
    (folder / "emu" / "07.jpg").write_bytes(b"")
    with pytest.raises(ImageReadError, match=r"emu/07\.jpg"):
        execute(_plan(folder, tmp_path / "c"), DaskExecutor(ClusterOptions(workers=1)))


def test_a_cache_in_memory_is_refused(jpeg_folder: Callable[..., Path]) -> None:
    with pytest.raises(RefreshError, match="lives in one process: name a folder"):
        execute(_plan(jpeg_folder(), "memory://dask"), DaskExecutor(ClusterOptions(workers=1)))


def test_a_scheduler_that_is_not_there_is_named(
    tmp_path: Path, jpeg_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.refresh.dask_cluster.CONNECT_SECONDS", 1.0)
    with pytest.raises(RefreshError, match="can't reach the Dask scheduler"):
        execute(
            _plan(jpeg_folder(), tmp_path / "c"),
            DaskExecutor(ClusterOptions(scheduler="tcp://127.0.0.1:9")),
        )


@pytest.mark.parametrize("by", ["address", "file"])
def test_a_running_cluster_is_used_by_address_or_file(
    tmp_path: Path, jpeg_folder: Callable[..., Path], by: str
) -> None:
    folder = jpeg_folder()
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.write_scheduler_file(str(tmp_path / "scheduler.json"))
        place = (
            {"scheduler": cluster.scheduler_address}
            if by == "address"
            else {"scheduler_file": str(tmp_path / "scheduler.json")}
        )
        dask = execute(_plan(folder, tmp_path / "dask"), DaskExecutor(ClusterOptions(**place)))
    loop = execute(_plan(folder, tmp_path / "loop"))
    assert dask.generation.digest == loop.generation.digest
