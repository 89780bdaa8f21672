"""Workers do not grow, and leave no named shared memory."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from loaders.build import build_loader
from loaders.geometry import CropFlip
from loaders.image_data import ArrayData
from loaders.policy import ScaePolicy
from loaders.transforms import StandardTransform

if TYPE_CHECKING:
    from collections.abc import Callable

    from loaders.scae_loader import ScaeLoader
    from tests.conftest import TortureLog

MEBIBYTE = 1 << 20


def _pss() -> int:
    """Proportional set size of all loader workers in bytes."""
    total = 0
    for child in multiprocessing.active_children():
        lines = Path(f"/proc/{child.pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    return total


def _loader(num: int, cache: Path, publish_maps: Callable[..., object]) -> ScaeLoader:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num, 8, 8, 3), np.uint8)
    data = ArrayData(images, np.arange(num) % 10, list("abcdefghij"), name="many")
    maps = rng.integers(0, 256, (num, 4, 4)).astype(np.uint8)
    publish_maps(data, cache, maps, block_rows=num)
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


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="PSS is Linux's")
def test_workers_stay_as_small_as_they_were(
    tmp_path: Path, publish_maps: Callable[..., object]
) -> None:
    """A list of objects would be copied page by page, epoch after epoch."""
    loader = _loader(20_000, tmp_path / "c", publish_maps)
    _use_every_place(loader)
    early = _after(loader, range(2))
    late = _after(loader, range(2, 8))
    assert early > 10 * MEBIBYTE
    assert late - early < 2 * MEBIBYTE


@pytest.mark.torture
def test_workers_stay_as_small_through_hundreds_of_epochs(
    tmp_path: Path,
    publish_maps: Callable[..., object],
    open_torture_log: Callable[..., TortureLog],
) -> None:
    for _ in open_torture_log("loader-memory", "loaders").todo(["200 epochs of 20,000"]):
        loader = _loader(20_000, tmp_path / "c", publish_maps)
        _use_every_place(loader)
        early = _after(loader, range(5))
        late = _after(loader, range(5, 200))
        assert late - early < 2 * MEBIBYTE


@pytest.mark.skipif(not Path("/dev/shm").exists(), reason="no folder shows named memory here")
def test_no_named_shared_memory_stays(
    make_loader: Callable[..., ScaeLoader], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What carries a batch has lost its name before the batch arrives."""
    monkeypatch.setattr("loaders.build.ring_for", lambda *_: None)  # as where Linux is missing
    loader = make_loader(num_workers=2, start_method="fork", batch_size=46, generation=0)
    monkeypatch.setattr("loaders.batches.BY_VALUE_BYTES", 0)
    kept = list(loader)
    assert kept[0].images.is_shared()  # type: ignore[no-untyped-call]
    processes = {os.getpid(), *(child.pid for child in multiprocessing.active_children())}
    names = [path.name for path in Path("/dev/shm").iterdir()]
    assert not [name for name in names if any(str(number) in name for number in processes)]
