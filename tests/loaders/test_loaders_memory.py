"""Workers do not grow, and leave no named shared memory."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from loaders.build import build_loader
from loaders.geometry import CropFlip
from loaders.image_data import ArrayData
from loaders.policy import ScaePolicy
from loaders.transforms import StandardTransform
from tests.slurm import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from loaders.scae_loader import ScaeLoader
    from tests.conftest import TortureLog

MEBIBYTE = 1 << 20


def _pss() -> int:
    """Proportional set size of all loader workers in bytes, without files.

    A library's page is shared with all processes that have it, and counts more once one ends.
    """
    total = 0
    for child in multiprocessing.active_children():
        lines = Path(f"/proc/{child.pid}/smaps_rollup").read_text().splitlines()
        counted = [line for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))]
        assert counted, lines
        total += sum(int(line.split()[1]) for line in counted) * 1024
    return total


def _data() -> ArrayData:
    images = np.random.default_rng(0).integers(0, 256, (20_000, 8, 8, 3), np.uint8)
    return ArrayData(images, np.arange(20_000) % 10, list("abcdefghij"), name="many")


def _loader(data: ArrayData, cache: Path) -> ScaeLoader:
    policy = ScaePolicy(num_epochs=10_000, class_counts=data.class_counts.tolist())
    transform = StandardTransform(geometry=CropFlip(8, padding=2), mean=(0.5,) * 3, std=(0.5,) * 3)
    return build_loader(
        data,
        transform,
        cache=cache,
        policy=policy,
        batch_size=512,
        num_workers=2,
        start_method="fork",
        sampler="square_root",
    )


def _use_every_place(loader: ScaeLoader) -> None:
    """Keep an epoch's batches, so that no place is written for the first time later on."""
    loader.set_epoch(0, 1)
    kept = list(loader)
    assert len(kept) > 10


def _after(loader: ScaeLoader, epochs: range) -> int:
    for epoch in epochs:
        loader.set_epoch(epoch, 1)
        for _ in loader:
            pass
    return _pss()


def print_sizes(cache: str, early: int, late: int) -> None:
    """Print what the workers take after some epochs, and after some more."""
    loader = _loader(_data(), Path(cache))
    _use_every_place(loader)
    sizes = [_after(loader, range(early)), _after(loader, range(early, late))]
    os.write(1, json.dumps(sizes).encode())


def _sizes(cache: Path, publish_maps: Callable[..., object], early: int, late: int) -> list[int]:
    """Measure in a process of its own, which finds the resident file made.

    Workers make pages that they share with their parent their own as they touch them. A parent that
    has run hundreds of other tests, or has just made the file, leaves them so much to touch that it
    looks like growth.
    """
    maps = np.random.default_rng(1).integers(0, 256, (20_000, 4, 4)).astype(np.uint8)
    publish_maps(_data(), cache, maps, block_rows=20_000)
    _loader(_data(), cache).set_epoch(0, 1)
    script = f"from {__name__} import print_sizes; print_sizes({str(cache)!r}, {early}, {late})"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sizes: list[int] = json.loads(done.stdout)
    return sizes


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="PSS is Linux's")
def test_workers_stay_as_small_as_they_were(
    tmp_path: Path, publish_maps: Callable[..., object]
) -> None:
    """A list of objects would be copied page by page, epoch after epoch."""
    early, late = _sizes(tmp_path / "c", publish_maps, 2, 8)
    assert early > 10 * MEBIBYTE
    assert late - early < 2 * MEBIBYTE


@pytest.mark.torture
def test_workers_stay_as_small_through_hundreds_of_epochs(
    tmp_path: Path,
    publish_maps: Callable[..., object],
    open_torture_log: Callable[..., TortureLog],
) -> None:
    for _ in open_torture_log("loader-memory", "loaders").todo(["400 epochs of 20,000"]):
        # Pages that workers share with their parent come first, ever fewer; a leak goes on.
        early, late = _sizes(tmp_path / "c", publish_maps, 60, 400)
        assert late - early < 2 * MEBIBYTE


@pytest.mark.skipif(not Path("/dev/shm").exists(), reason="no folder shows named memory here")
def test_no_named_shared_memory_stays(
    make_loader: Callable[..., ScaeLoader], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What carries a batch has lost its name before the batch arrives."""
    monkeypatch.setattr("loaders.build.ring_for", lambda *_: None)  # as where Linux is missing
    before = set(Path("/dev/shm").iterdir())  # other tests' libraries leave semaphores there
    loader = make_loader(num_workers=2, start_method="fork", batch_size=46, generation=0)
    monkeypatch.setattr("loaders.batches.BY_VALUE_BYTES", 0)
    kept = list(loader)
    assert kept[0].images.is_shared()  # type: ignore[no-untyped-call]
    processes = {os.getpid(), *(child.pid for child in multiprocessing.active_children())}
    names = [path.name for path in set(Path("/dev/shm").iterdir()) - before]
    assert not [name for name in names if any(str(number) in name for number in processes)]
