from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from distributed import Client, LocalCluster
from distributed.security import Security

from pipeline.errors import BlocksFailed, RefreshError, Stopped
from pipeline.refresh import dask_cluster, dask_executor, dask_worker
from pipeline.refresh.dask_cluster import ClusterOptions, worker_environments
from pipeline.refresh.dask_executor import DaskExecutor
from pipeline.refresh.job import RefreshReport, execute
from pipeline.refresh.plan import RefreshOptions, RefreshPlan, plan_refresh
from pipeline.refresh.sources import DataSource, NetworkSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pipeline.refresh.progress import RefreshProgress


def _plan(folder: Path, cache: str | Path, **options: Any) -> RefreshPlan:  # noqa: ANN401
    given = {"size": 16, "batch_size": 4, "block_rows": 8, "chunk_rows": 4, **options}
    network = NetworkSource(name="resnet8", num_classes=3)
    return plan_refresh(DataSource(name=str(folder)), network, cache, RefreshOptions(**given))


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers in threads of this process: quick to start, and the same code paths."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0", protocol="tcp"
    ) as cluster:
        yield cluster


def _run_on(cluster: LocalCluster, plan: RefreshPlan, **options: Any) -> RefreshReport:  # noqa: ANN401
    place = ClusterOptions(scheduler=cluster.scheduler_address)
    return execute(plan, DaskExecutor(place), **options)


def test_embedded_workers_and_the_plain_loop_write_the_same_bytes(
    tmp_path: Path, jpeg_folder: Callable[..., Path]
) -> None:
    folder = jpeg_folder()
    seen: list[RefreshProgress] = []
    loop = execute(_plan(folder, tmp_path / "loop"))
    dask = execute(
        _plan(folder, tmp_path / "dask"),
        DaskExecutor(ClusterOptions(workers=2)),
        progress=seen.append,
    )
    assert loop.generation.digest == dask.generation.digest
    assert (seen[0].rows_done, seen[-1].rows_done) == (0, 30)
    assert seen[-1].blocks_done == 4
    for path in (tmp_path / "loop" / "generations").rglob("*"):
        if path.is_file():
            twin = (
                tmp_path / "dask" / "generations" / path.relative_to(tmp_path / "loop/generations")
            )
            assert twin.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("num_deaths", [2, 3])
def test_workers_that_end_while_they_start_are_started_again_and_then_named(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch, num_deaths: int
) -> None:
    deaths = iter([RuntimeError("Nanny failed to start.")] * num_deaths)

    def start(**_: object) -> LocalCluster:
        for death in deaths:
            raise death
        return cluster

    monkeypatch.setattr(dask_cluster, "SpecCluster", start)
    if num_deaths < dask_cluster.START_ATTEMPTS:
        assert dask_cluster._started({}, {0: {}}) is cluster
        return
    with pytest.raises(RefreshError, match=r"3 times in turn \(Nanny failed.*memory for 1 of"):
        dask_cluster._started({}, {0: {}})


def test_failing_blocks_on_dask_name_the_image_and_the_others_are_done(
    tmp_path: Path, jpeg_folder: Callable[..., Path], cluster: LocalCluster
) -> None:
    folder = jpeg_folder()
    picture = (folder / "emu" / "07.jpg").read_bytes()
    (folder / "emu" / "07.jpg").write_bytes(picture[: len(picture) // 2] + bytes(len(picture) // 2))
    with pytest.raises(BlocksFailed, match=r"1 of 4 blocks .*block 3 .*emu/07\.jpg"):
        _run_on(cluster, _plan(folder, tmp_path / "c", retries=0))
    (folder / "emu" / "07.jpg").write_bytes(picture)
    assert _run_on(cluster, _plan(folder, tmp_path / "c")).num_rows_found == 24


def test_a_cache_in_memory_is_refused(jpeg_folder: Callable[..., Path]) -> None:
    with pytest.raises(RefreshError, match="lives in one process: name a folder"):
        execute(_plan(jpeg_folder(), "memory://dask"), DaskExecutor(ClusterOptions(workers=1)))


def test_a_scheduler_that_is_not_there_is_named(
    tmp_path: Path, jpeg_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 0.5)
    plan = _plan(jpeg_folder(), tmp_path / "c")
    with pytest.raises(RefreshError, match=r"can't reach the Dask scheduler at tcp://127.0.0.1:9"):
        execute(plan, DaskExecutor(ClusterOptions(scheduler="tcp://127.0.0.1:9")))
    file = str(tmp_path / "none.json")
    with pytest.raises(RefreshError, match=r"at .*none\.json: the file is not there"):
        execute(plan, DaskExecutor(ClusterOptions(scheduler_file=file)))


def test_waiting_for_a_scheduler_ends_with_a_request_to_stop(
    tmp_path: Path, jpeg_folder: Callable[..., Path]
) -> None:
    options = ClusterOptions(scheduler_file=str(tmp_path / "none.json"))
    with pytest.raises(Stopped, match="stopped waiting for the Dask scheduler"):
        execute(_plan(jpeg_folder(), tmp_path / "c"), DaskExecutor(options), stop=lambda: True)


def test_a_scheduler_file_that_comes_later_is_waited_for(
    tmp_path: Path, jpeg_folder: Callable[..., Path], cluster: LocalCluster
) -> None:
    folder, file = jpeg_folder(), tmp_path / "scheduler.json"

    def write_late() -> None:
        time.sleep(0.7)
        with Client(cluster.scheduler_address) as client:
            client.write_scheduler_file(str(file))

    writer = threading.Thread(target=write_late)
    writer.start()
    executor = DaskExecutor(ClusterOptions(scheduler_file=str(file)))
    dask = execute(_plan(folder, tmp_path / "dask"), executor)
    writer.join()
    loop = execute(_plan(folder, tmp_path / "loop"))
    assert dask.generation.digest == loop.generation.digest
    assert executor.num_workers == 2
    assert str(executor.dashboard).startswith("http://")


def test_workers_of_other_versions_are_refused_by_name(
    tmp_path: Path,
    jpeg_folder: Callable[..., Path],
    cluster: LocalCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = {**dask_worker.own_versions(), "torch": "1.0"}
    monkeypatch.setattr(dask_executor, "own_versions", lambda: ours)
    with pytest.raises(RefreshError, match=r"worker on .* other versions .*torch .* there, 1\.0 h"):
        _run_on(cluster, _plan(jpeg_folder(), tmp_path / "c"))


def test_data_that_a_worker_sees_otherwise_is_refused(
    tmp_path: Path, jpeg_folder: Callable[..., Path], cluster: LocalCluster
) -> None:
    folder = jpeg_folder()
    plan = _plan(folder, tmp_path / "c")
    opened = plan.data.open()
    (folder / "cat" / "00.jpg").unlink()
    with pytest.raises(RefreshError, match=r"the data set of this process .*sees another copy"):
        _run_on(cluster, plan, opened=opened)


def test_a_stop_frees_the_workers_and_the_job_goes_on_later(
    tmp_path: Path, jpeg_folder: Callable[..., Path], cluster: LocalCluster
) -> None:
    folder = jpeg_folder()
    done: list[int] = []
    with pytest.raises(Stopped, match="run the same command again"):
        _run_on(
            cluster,
            _plan(folder, tmp_path / "c"),
            progress=lambda state: done.append(state.blocks_done),
            stop=lambda: bool(done) and done[-1] >= 1,
        )
    with Client(cluster.scheduler_address) as client:
        until = time.monotonic() + 20
        while any(client.processing().values()):
            assert time.monotonic() < until
            time.sleep(0.05)
    report = _run_on(cluster, _plan(folder, tmp_path / "c"))
    assert report.num_rows_found >= 8
    loop = execute(_plan(folder, tmp_path / "loop"))
    assert report.generation.digest == loop.generation.digest


def test_two_jobs_at_once_on_one_cluster_take_turns(
    tmp_path: Path, jpeg_folder: Callable[..., Path], cluster: LocalCluster
) -> None:
    """A worker has one job open; the other one's must not be taken from under its block."""
    folder = jpeg_folder()
    plans = [_plan(folder, tmp_path / f"c{rows}", block_rows=rows) for rows in (4, 8)]
    with ThreadPoolExecutor(2) as both:
        reports = list(both.map(partial(_run_on, cluster), plans, timeout=120))
    for plan, report in zip(plans, reports, strict=True):
        loop = execute(replace(plan, cache=f"{plan.cache}-loop"))
        assert report.generation.digest == loop.generation.digest


def test_an_encrypted_cluster_is_reached_by_its_files_only(
    tmp_path: Path, jpeg_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = jpeg_folder()
    security = Security.temporary()
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_text(security.tls_ca_file)
    key.write_text(security.tls_client_key)
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, security=security, protocol="tls",
        dashboard_address=":0",
    ) as cluster:  # fmt: skip
        files: dict[str, Any] = {
            "tls_ca_file": str(certificate),
            "tls_cert": str(certificate),
            "tls_key": str(key),
        }
        place = ClusterOptions(scheduler=cluster.scheduler_address, **files)
        dask = execute(_plan(folder, tmp_path / "dask"), DaskExecutor(place))
        monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 0.5)
        with pytest.raises(RefreshError, match=r"can't reach the Dask scheduler at tls://"):
            _run_on(cluster, _plan(folder, tmp_path / "other"))
    loop = execute(_plan(folder, tmp_path / "loop"))
    assert dask.generation.digest == loop.generation.digest


def test_embedded_workers_share_cores_and_each_owns_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(8)))
    assert worker_environments(None, "cpu").keys() == set(range(8))
    assert worker_environments(2, "cpu") == {rank: {"OMP_NUM_THREADS": "4"} for rank in (0, 1)}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert worker_environments(None, "cuda") == {
        0: {"OMP_NUM_THREADS": "4", "CUDA_VISIBLE_DEVICES": "3"},
        1: {"OMP_NUM_THREADS": "4", "CUDA_VISIBLE_DEVICES": "5"},
    }
    with pytest.raises(RefreshError, match="at most the number of GPUs here, 2, got 3"):
        worker_environments(3, "cuda")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers must be 1 or more, got 0"),
        ({"workers": 2, "memory_limit": "lots"}, "memory_limit must be a size .* got 'lots'"),
        ({"workers": 2, "scheduler": "tcp://x:1"}, "only one of workers and scheduler"),
        ({"workers": 2, "tls_ca_file": "ca.pem"}, "TLS files belong to a cluster that is there"),
    ],
    ids=["workers", "memory", "two-places", "tls"],
)
def test_impossible_clusters_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RefreshError, match=message):
        ClusterOptions(**options)
