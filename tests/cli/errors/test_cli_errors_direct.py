"""Errors that no command line on this machine brings about: what makes them is called itself."""

from __future__ import annotations

import asyncio
import errno
import logging
import multiprocessing
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.distributed.elastic.rendezvous.api import RendezvousError
from zarr.core.buffer import default_buffer_prototype

from cache_store import publish as publishing
from cache_store import resident
from cache_store.errors import ScaeError
from cache_store.layout import published_key
from cache_store.local_backend import LocalBackend
from cache_store.receipts import Receipt
from cache_store.records import decode_record, encode_record
from cache_store.store import SaliencyStore
from pipeline.bench.loader_speed import _jpegs, _processor_seconds
from pipeline.refresh.dask_executor import _as_scae_error
from pipeline.saliency.network_sources import _import_file
from pipeline.training import launch as launching
from pipeline.training.launch import LaunchOptions, launch
from pipeline.training.pending_maps import KeptCheckpoints
from pipeline.training.ranks import _take_gpu
from pipeline.training.run_folder import RunFolder
from pipeline.training.run_record import record_of
from pipeline.training.sweep import plan_sweep, run_sweep
from pipeline.training.tested_network import _check_classes
from tests.cli.errors.calls import CALLS, REQUEST, STUB
from tests.cli.errors.sites import recorded, sites_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cache_store.generation import Generation
    from cache_store.writer import GenerationPlan
    from loaders.image_data import ArrayData


def _raised(call: Callable[[], object], site: str) -> str:
    """Return the message of the error that a call raises at a site."""
    with recorded() as lines, pytest.raises(ScaeError) as caught:
        call()
    assert site in sites_at(lines)
    return str(caught.value)


def _fail(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("site", CALLS)
def test_an_error_is_made_by_what_it_is_about(site: str) -> None:
    call, part = CALLS[site]
    assert part in _raised(call, site)


def test_a_worker_that_fails_is_told_in_one_line() -> None:
    message = str(_as_scae_error(ValueError("no such thing")))
    assert "a Dask worker can't do this job: ValueError: no such thing; see its log" in message


def test_a_child_process_without_proc_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    child = STUB(pid="none")
    monkeypatch.setattr(multiprocessing, "active_children", lambda: [child])
    site = "pipeline/bench/loader_speed.py::_processor_seconds"
    assert "use wall" in _raised(_processor_seconds, site)


def test_data_without_files_has_no_jpegs(toy_images: Callable[..., ArrayData]) -> None:
    message = _raised(lambda: _jpegs(toy_images(), 3), "pipeline/bench/loader_speed.py::_jpegs")
    assert "needs a folder of JPEG files, got toy" in message


def test_a_network_file_has_to_be_python(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("")
    site = "pipeline/saliency/network_sources.py::_import_file#2"
    assert "must be in a Python file" in _raised(lambda: _import_file(REQUEST, path), site)


def test_images_of_other_classes_are_refused(
    toy_images: Callable[..., ArrayData], tmp_path: Path
) -> None:
    site = "pipeline/training/tested_network.py::_check_classes"
    message = _raised(
        lambda: _check_classes(toy_images(), ("a", "b", "c"), RunFolder(tmp_path)), site
    )
    assert "must have the 3 classes that run" in message
    assert "got 4: name images of those classes" in message


def test_a_record_needs_a_finished_run(tmp_path: Path) -> None:
    site = "pipeline/training/run_record.py::record_of"
    assert "go on with it by" in _raised(lambda: record_of(RunFolder(tmp_path)), site)


def test_a_rank_without_a_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    message = _raised(lambda: _take_gpu("cuda"), "pipeline/training/ranks.py::_take_gpu")
    assert "or set train.device to cpu" in message


def test_machines_that_do_not_meet_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RendezvousError("timed out")
    monkeypatch.setattr(launching, "elastic_launch", lambda *_: _fail(error))
    options = LaunchOptions(ranks=1, nodes=2, rendezvous="127.0.0.1:29500")
    message = _raised(lambda: launch(["scae"], options), "pipeline/training/launch.py::launch")
    assert "2 machines did not meet at 127.0.0.1:29500: start the same command on each" in message
    assert logging.root.manager.disable == logging.NOTSET


def test_a_checkpoint_that_can_not_be_kept_is_told(tmp_path: Path) -> None:
    kept = KeptCheckpoints(RunFolder(tmp_path))
    kept._files = STUB(
        there=lambda: {3: "file"}, pin=_fail(OSError(errno.ENOSPC, "No space left on device"))
    )
    site = "pipeline/training/pending_maps.py::KeptCheckpoints.keep"
    assert "No space left on device; make room" in _raised(lambda: kept.keep(3), site)


def test_a_sweep_that_is_stopped_says_how_far_it_is(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("")
    planned = plan_sweep([recipe], [0], tmp_path / "runs")
    site = "pipeline/training/sweep.py::run_sweep#2"
    message = _raised(lambda: run_sweep(planned, tmp_path / "runs", stop=lambda: True), site)
    assert message == "stopped with 0 of 1 runs done: the same command goes on"


@pytest.fixture
def store(
    tmp_path: Path,
    make_store: Callable[..., SaliencyStore],
    publish: Callable[[SaliencyStore], Generation],
) -> SaliencyStore:
    """A store with one generation."""
    made = make_store(tmp_path / "c")
    publish(made)
    return made


def test_a_store_is_opened_to_read_or_to_write(store: SaliencyStore) -> None:
    mode: Any = "w"
    site = "cache_store/store.py::SaliencyStore.open"
    assert "got 'w'" in _raised(lambda: SaliencyStore.open(store.url, mode), site)


def test_a_store_of_no_samples_is_refused(make_store: Callable[..., SaliencyStore]) -> None:
    site = "cache_store/store.py::SaliencyStore.create"
    assert "no samples" in _raised(lambda: make_store("memory://none", 0), site)


def test_an_object_that_no_manifest_lists_is_refused(store: SaliencyStore) -> None:
    generation = store.latest()
    key = "generations/000001/saliency/c/9/0/0"
    site = "cache_store/generation.py::Generation.read_object"
    assert key in _raised(lambda: generation.read_object(key), site)
    view: Any = generation.saliency.store
    site = "cache_store/zarr_view.py::ZarrView.get"
    message = _raised(lambda: asyncio.run(view.get(key, default_buffer_prototype())), site)
    assert "do not belong together" in message


def test_a_pointer_to_another_manifest_is_refused(store: SaliencyStore, tmp_path: Path) -> None:
    path = tmp_path / "c" / published_key(1)
    pointer = decode_record(path.read_bytes(), "here")
    path.write_bytes(encode_record({**pointer, "digest": "0" * 64}))
    site = "cache_store/store.py::SaliencyStore.generation#2"
    message = _raised(lambda: SaliencyStore.open(store.url).latest(), site)
    assert "does not belong to its manifest" in message


def test_a_receipt_without_its_fields_is_refused() -> None:
    record = encode_record({"block": 3})
    site = "cache_store/receipts.py::Receipt.decode"
    assert "KeyError" in _raised(lambda: Receipt.decode(record, "here"), site)


def test_a_number_that_another_plan_has_published_is_refused(
    store: SaliencyStore, make_plan: Callable[..., GenerationPlan]
) -> None:
    writer = store.begin(make_plan(weights="1"))
    writer.number = 1
    site = "cache_store/publish.py::publish_generation"
    assert "refresh again" in _raised(lambda: store.publish(writer), site)


def test_samples_that_are_gone_at_publication_are_told(
    store: SaliencyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_earlier_objects", lambda _writer: {})
    backend = LocalBackend(tmp_path / "c")
    (tmp_path / "c" / "generations" / "zarr.json").unlink()
    site = "cache_store/publish.py::_shared_objects"
    message = _raised(lambda: publishing._shared_objects(STUB(backend=backend)), site)
    assert "run 'scae cache repair" in message


def test_resident_maps_that_vanish_are_told(
    store: SaliencyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "_open", lambda *_: None)
    monkeypatch.setattr(resident, "_make", lambda *_: None)
    site = "cache_store/resident.py::open_resident"
    message = _raised(lambda: resident.open_resident(store.latest()), site)
    assert "set SCAE_RESIDENT_DIR to another folder" in message


def test_a_file_that_others_take_away_is_told(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    site = "cache_store/local_backend.py::LocalBackend._put"
    assert "again and again" in _raised(
        lambda: backend._put(tmp_path / "key", b"3", _fail(FileNotFoundError())), site
    )
