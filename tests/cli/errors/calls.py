"""Calls that make errors which no command line on this machine brings about."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cache_store.arrays import encode_object, saliency_spec
from cache_store.provenance import Provenance
from loaders.randomness import KeyedStream
from loaders.transforms import _one_size
from loaders.view import View
from loaders.view_batch import ViewBatch
from loaders.view_kernels import _pad, resized_size
from pipeline.bench.refresh_speed import SpeedOptions, _difference
from pipeline.refresh.attempts import _pause
from pipeline.refresh.dask_executor import _Run
from pipeline.refresh.dask_worker import _check_process
from pipeline.refresh.repair_sources import SourcesAtHand
from pipeline.saliency.network_sources import Request, _triple
from pipeline.training.pauses import Pauses
from pipeline.training.ranks import Ranks, _lost_ranks_named

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST = Request(name="mine:build", num_classes=3, pretrained=False, options={})
STUB: Any = SimpleNamespace
"""Stands for what a function takes only a little of."""


def _lose_a_rank() -> None:
    with _lost_ranks_named():
        raise RuntimeError("[transport.cc:1] Connection closed by peer. More words")


def _one_view(size: tuple[int, int]) -> ViewBatch:
    return ViewBatch(matrices=np.zeros((1, 3, 3)), half_planes=np.zeros((1, 0, 3)), size=size)


def _used_up() -> None:
    stream = KeyedStream(
        seed=0, epoch=0, indices=np.arange(1), draws=np.zeros(1, np.int64), purpose="test"
    )
    stream._position = 2**34
    stream.random((1, 1))


SPEC = saliency_spec("g", 4, (2, 2), 4, 2)

CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "cache_store/arrays.py::saliency_spec": (
        lambda: saliency_spec("g", 4, (2, 2), 3, 2),
        "block_rows must be a positive multiple of chunk_rows 2, got 3",
    ),
    "cache_store/arrays.py::encode_object": (
        lambda: encode_object(SPEC, 0, np.zeros((3, 2, 2), np.uint8)),
        "must be (4, 2, 2) uint8, got (3, 2, 2) uint8",
    ),
    "cache_store/provenance.py::Provenance.from_dict": (
        lambda: Provenance.from_dict({"colour": "red"}),
        "missing or unknown fields: batch_size",
    ),
    "loaders/randomness.py::KeyedStream.random#2": (_used_up, "at most 2**33 numbers a row"),
    "loaders/transforms.py::_one_size": (
        lambda: _one_size(np.array([[4, 4], [5, 4]]), (4, 4)),
        "got (4, 4) and others: use the resized crop",
    ),
    "loaders/view_batch.py::ViewBatch.__post_init__#3": (
        lambda: _one_view((0, 4)),
        "at least (1, 1), got (0, 4)",
    ),
    "loaders/view_kernels.py::resized_size": (
        lambda: resized_size((4, 4), None),
        "resize needs size or max_size",
    ),
    "loaders/view_kernels.py::_pad": (
        lambda: _pad(View.whole((4, 4)), (1, 2, 3)),
        "padding must be 1, 2 or 4 numbers, got (1, 2, 3)",
    ),
    "pipeline/bench/refresh_speed.py::SpeedOptions.__post_init__": (
        lambda: SpeedOptions(batch_size=0),
        "batch_size must be 1 or more, got 0",
    ),
    "pipeline/bench/refresh_speed.py::SpeedOptions.__post_init__#2": (
        lambda: SpeedOptions(clock="cpu", device="cuda"),
        "got 'cpu' with device cuda",
    ),
    "pipeline/bench/refresh_speed.py::_difference": (
        lambda: _difference(torch.zeros(2), torch.zeros(2)),
        "our maps must not be flat",
    ),
    "pipeline/refresh/attempts.py::_pause": (
        lambda: _pause(1, lambda: True),
        "run the same command again",
    ),
    "pipeline/refresh/dask_worker.py::_check_process#2": (
        lambda: _check_process(
            STUB(
                versions={},
                plan=STUB(generation=STUB(provenance=STUB(device_type="cuda"))),
            )
        ),
        "can't be used: device cuda is not available here",
    ),
    "pipeline/refresh/dask_executor.py::_Run.check#3": (
        lambda: _Run.check(
            STUB(
                _client=STUB(status="running"),
                _counted=float("inf"),
                _last_seen=float("-inf"),
                num_workers=0,
                _embedded=True,
            ),
            lambda: False,
        ),
        "their memory may be too small, see --memory-limit",
    ),
    "pipeline/refresh/repair_sources.py::SourcesAtHand._given": (
        lambda: SourcesAtHand(None, STUB(), STUB())._given(),
        "give --data and --weights",
    ),
    "pipeline/saliency/network_sources.py::_triple": (
        lambda: _triple(REQUEST, "mean", [0.5]),
        "mean of 'mine:build' must be 3 numbers, got [0.5]",
    ),
    "pipeline/training/pauses.py::Pauses.before_update#2": (
        lambda: Pauses(
            STUB(any_of=lambda _flags: (True, False, False), leads=True),
            lambda: False,
            0.0,
            lambda: None,
        ).before_update(None),
        "on another rank: see its message",
    ),
    "pipeline/training/ranks.py::Ranks._raise_first": (
        lambda: Ranks(0, 2)._raise_first(None, [None, (True, "stopped: go on by --resume")]),
        "go on by --resume",
    ),
    "pipeline/training/ranks.py::Ranks._raise_first#2": (
        lambda: Ranks(0, 2)._raise_first(None, [None, (False, "no room: make some")]),
        "make some",
    ),
    "pipeline/training/ranks.py::_lost_ranks_named": (
        _lose_a_rank,
        "another rank is gone (Connection closed by peer): see its messages, and go on from",
    ),
}
"""Site -> a call that makes its error, and a part of the message."""
