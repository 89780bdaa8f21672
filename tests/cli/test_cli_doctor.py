"""`scae doctor`: each fault gets its line, its cure and its exit code; nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import threading
from collections import namedtuple
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from distributed import LocalCluster

from cache_store.memory_backend import MemoryBackend
from cache_store.store import SaliencyStore
from cli import doctor_dask, doctor_versions
from cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cache_store.generation import Generation

Usage = namedtuple("Usage", "total used free")


def _scae(*words: object) -> Result:
    return CliRunner().invoke(main, ["doctor", *map(str, words)])


def _checks(*words: object, code: int) -> dict[str, dict[str, str]]:
    result = _scae(*words, "--json")
    assert result.exit_code == code, result.output
    fields = json.loads(result.stdout)
    assert fields["ok"] == (code == 0)
    assert all("\n" not in text for check in fields["checks"] for text in check.values())
    return {check["name"]: check for check in fields["checks"]}


def _files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.fixture
def cache(
    tmp_path: Path,
    make_store: Callable[..., SaliencyStore],
    publish: Callable[..., Generation],
) -> Path:
    """One generation."""
    publish(make_store(tmp_path / "maps.zarr"))
    return tmp_path / "maps.zarr"


def test_this_machine_can_run_scae_and_each_check_has_a_line(cache: Path) -> None:
    before = _files(cache)
    result = _scae("--cache", cache)
    assert result.exit_code == 0, result.output
    for name in ("python", "torch", "zarr", "jpeg decoder", "blosc/zstd", "/dev/shm", "ulimit -n",
                 "resident maps", "cache ", "cache room", "cache writes"):  # fmt: skip
        assert sum(line[9:].startswith(name) for line in result.output.splitlines()) >= 1, name
    assert "generation 1, 20 maps of 3x4" in result.output
    assert "0 problems" in result.output
    assert _files(cache) == before


def test_no_cache_yet_is_a_warning_and_none_is_made(tmp_path: Path) -> None:
    checks = _checks("--cache", tmp_path / "deep" / "none.zarr", code=0)
    assert checks["cache"]["status"] == "warning"
    assert "scae refresh" in checks["cache"]["found"]
    assert checks["cache writes"]["status"] == "ok"
    assert not (tmp_path / "deep").exists()
    (tmp_path / "file").write_text("in the way")
    check = _checks("--cache", tmp_path / "file" / "none.zarr", code=1)["cache writes"]
    assert "is no folder" in check["found"]


@pytest.mark.parametrize(
    ("url", "part"),
    [("ftp://host/maps", "got ftp://"), ("file", "file")],
    ids=["scheme", "a-file"],
)
def test_what_can_be_no_cache_is_a_problem(tmp_path: Path, url: str, part: str) -> None:
    if url == "file":
        url = str(tmp_path / "file")
        Path(url).mkdir()
        (Path(url) / "zarr.json").write_text("rubbish")
    check = _checks("--cache", url, code=1)["cache"]
    assert check["status"] == "problem"
    assert part in check["found"]


@pytest.mark.usefixtures("cache")
def test_a_store_that_ignores_conditional_creates_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_store: Callable[..., SaliencyStore]
) -> None:
    url = f"memory://{tmp_path.name}"
    make_store(url)
    assert _checks("--cache", url, code=0)["cache writes"]["status"] == "ok"
    monkeypatch.setattr(MemoryBackend, "create", lambda *_: True)
    check = _checks("--cache", url, code=1)["cache writes"]
    assert "lets two writers create one object" in check["found"]


def test_an_object_store_is_reached_and_its_refusals_are_told(
    s3_url: str, make_store: Callable[..., SaliencyStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_store(s3_url)
    checks = _checks("--cache", s3_url, code=0)
    assert checks["cache writes"]["status"] == "ok"
    assert "no published generation" in checks["cache"]["found"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SCAE_STORE_TRIES", "2")
    check = _checks("--cache", s3_url, code=1)["cache"]
    assert "AWS_ENDPOINT_URL" in check["found"]


def test_a_generation_larger_than_the_room_is_a_problem(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(2**40, 2**40, 999))
    checks = _checks("--cache", cache, code=1)
    assert checks["cache's maps"]["status"] == "problem"
    assert "SCAE_RESIDENT_DIR" in checks["cache's maps"]["cure"]
    assert "--shm-size" in checks["/dev/shm"]["cure"]
    assert checks["resident maps"]["status"] == checks["cache room"]["status"] == "problem"


@pytest.mark.parametrize(
    ("soft", "status"), [(100, "problem"), (512, "warning"), (1024, "ok"), (-1, "ok")]
)
def test_few_open_files_are_told(monkeypatch: pytest.MonkeyPatch, soft: int, status: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (soft, -1))
    check = _checks(code=1 if status == "problem" else 0)["ulimit -n"]
    assert check["status"] == status
    assert bool(check["cure"]) == (status != "ok")


def test_a_missing_an_old_and_an_optional_package_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name in ("obstore", "tomli-w"):
            raise metadata.PackageNotFoundError(name)
        return "2.0.1" if name == "zarr" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    checks = _checks(code=1)
    assert checks["zarr"]["status"] == "problem"
    assert "pip install 'zarr>=3" in checks["zarr"]["cure"]
    assert checks["tomli-w"]["found"] == "not installed"
    assert checks["obstore"]["status"] == "ok"
    assert "scae[s3]" in checks["obstore"]["found"]


def test_a_decoder_that_is_wrong_and_a_folder_of_somebody_else_are_problems(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import simplejpeg

    real = simplejpeg.decode_jpeg
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *words: real(*words) // 2)
    (tmp_path / f"scae-{os.getuid()}").write_text("in the way")
    checks = _checks(code=1)
    assert "differs from Pillow" in checks["jpeg decoder"]["found"]
    assert "SCAE_RESIDENT_DIR" in checks["resident maps"]["found"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers in threads of this process."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0", protocol="tcp"
    ) as cluster:
        yield cluster


def test_a_cluster_of_the_same_versions_is_fine(cluster: LocalCluster) -> None:
    check = _checks("--scheduler", cluster.scheduler_address, code=0)["dask"]
    assert "2 workers, versions as here" in check["found"]


def test_versions_of_workers_that_differ_are_told_by_how_grave_that_is(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = doctor_versions.installed_versions()

    def versions() -> dict[str, str]:
        if threading.current_thread() is threading.main_thread():
            return own
        other = {**own, "torch": "1.0", "distributed": "1.1"}
        return {name: one for name, one in other.items() if name not in ("zarr", "obstore")}

    monkeypatch.setattr(doctor_dask, "installed_versions", versions)
    checks = _checks("--scheduler", cluster.scheduler_address, code=1)
    assert checks["dask torch"]["status"] == "warning"
    assert "1.0 on 2 of 2 workers" in checks["dask torch"]["found"]
    assert checks["dask distributed"]["status"] == "problem"
    assert "none on 2 of 2 workers" in checks["dask zarr"]["found"]
    assert checks["dask zarr"]["status"] == "problem"
    assert "dask obstore" not in checks


def test_workers_that_cannot_answer_and_no_scheduler_are_problems(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = doctor_versions.installed_versions()

    def versions() -> dict[str, str]:
        if threading.current_thread() is threading.main_thread():
            return own
        raise ModuleNotFoundError("No module named 'cli'")

    monkeypatch.setattr(doctor_dask, "installed_versions", versions)
    check = _checks("--scheduler", cluster.scheduler_address, code=1)["dask worker"]
    assert "No module named 'cli'" in check["found"]
    monkeypatch.setattr(doctor_dask, "WAIT_SECONDS", 0.0)
    check = _checks("--scheduler", "tcp://127.0.0.1:1", code=1)["dask"]
    assert "is it running" in check["cure"]


def test_a_worker_that_hangs_is_a_problem_and_does_not_hang_the_doctor(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never() -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(doctor_dask, "installed_versions", never)
    monkeypatch.setattr(doctor_dask, "ANSWER_SECONDS", 0.2)
    check = _checks("--scheduler", cluster.scheduler_address, code=1)["dask"]
    assert "not all of its workers answer" in check["found"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("--scheduler tcp://a:1 --scheduler-file b", "only one of --scheduler and"),
        (f"--tls-cert {__file__}", "--tls-cert has no effect without --scheduler"),
    ],
)
def test_words_that_make_no_sense_are_usage_errors(words: str, part: str) -> None:
    result = _scae(*words.split())
    assert result.exit_code == 2
    assert part in result.stderr
