"""All ranks use one generation: two processes talking over gloo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch.distributed
from torch.multiprocessing.spawn import start_processes

from cache_store.errors import CacheNotFoundError
from loaders.agreement import from_rank_zero
from loaders.build import build_loader
from loaders.geometry import Whole
from loaders.image_data import ArrayData
from loaders.policy import ScaePolicy
from loaders.transforms import StandardTransform

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from loaders.scae_loader import ScaeLoader


def _fail() -> int:
    raise CacheNotFoundError("no cache: make one")


def _rank(rank: int, folder: str, cache: str, data: ArrayData) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    try:
        policy = ScaePolicy(num_epochs=9, class_counts=data.class_counts.tolist())
        transform = StandardTransform(geometry=Whole(8), mean=(0.5,) * 3, std=(0.5,) * 3)
        loader = build_loader(data, transform, cache=cache, policy=policy, batch_size=4)
        if rank == 1:  # a publication between two ranks' looks: only rank 0 sees generation 2
            loader.dataset.maps.latest = lambda: 1  # type: ignore[method-assign]
        assert loader.batches.world_size == 2
        assert loader.set_epoch(1) == 2
        rows = torch.cat([batch.indices for batch in loader])
        both = [torch.zeros_like(rows) for _ in range(2)]
        torch.distributed.all_gather(both, rows)
        assert sorted(torch.cat(both).tolist()) == list(range(46))
        with pytest.raises(CacheNotFoundError, match="no cache: make one"):
            from_rank_zero(_fail)
    finally:
        torch.distributed.destroy_process_group()


def test_ranks_follow_rank_zero_to_a_new_generation(
    tmp_path: Path, mixed_data: ArrayData, make_loader: Callable[..., ScaeLoader]
) -> None:
    make_loader()  # publishes generations 1 and 2
    arguments = (str(tmp_path), str(tmp_path / "loader-cache"), mixed_data)
    start_processes(_rank, arguments, nprocs=2, start_method="fork")  # type: ignore[no-untyped-call]


def test_an_answer_of_rank_zero_may_be_zero(tmp_path: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    try:
        assert from_rank_zero(lambda: 0) == 0
        assert from_rank_zero(lambda: int(np.int64(7))) == 7
    finally:
        torch.distributed.destroy_process_group()
