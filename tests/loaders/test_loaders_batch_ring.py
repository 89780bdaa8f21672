"""Memory that is written again: never while somebody still reads it."""

from __future__ import annotations

import multiprocessing
import os
from typing import TYPE_CHECKING

import pytest
import torch

from loaders.batch_ring import BatchRing

if TYPE_CHECKING:
    from collections.abc import Callable

    from loaders.scae_loader import ScaeLoader

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="rings are Linux's")

SHAPE = (2, 3, 4, 4)


def _ring(per_worker: int = 2) -> BatchRing:
    return BatchRing(2 * 3 * 4 * 4 * 4, num_workers=2, per_worker=per_worker)


def _lent(ring: BatchRing, worker: int = 0) -> torch.Tensor:
    tensor = ring.lend(worker, SHAPE)
    assert tensor is not None
    return tensor


def test_places_end_and_come_back_with_the_last_view_of_their_tensor() -> None:
    ring = _ring()
    first, second = _lent(ring), _lent(ring)
    assert ring.lend(0, SHAPE) is None
    assert ring.lend(1, SHAPE) is not None  # each worker has places of its own
    address, part = first.data_ptr(), first[1].numpy()[0]
    del first
    assert ring.lend(0, SHAPE) is None  # `part` still reads there
    part[:] = 7
    del part
    assert _lent(ring).data_ptr() == address
    assert second.data_ptr() != address


def test_a_place_that_was_handed_over_belongs_to_the_receiver() -> None:
    ring = _ring(per_worker=1)
    made = _lent(ring)
    made.fill_(3)
    place = ring.hand_over(made)
    assert place is not None
    assert ring.hand_over(made) is None  # sent once only
    received = place.received()
    del made
    assert ring.lend(0, SHAPE) is None
    assert received.eq(3).all()
    del received
    assert ring.lend(0, SHAPE) is not None


def test_other_tensors_are_not_handed_over() -> None:
    ring = _ring()
    lent = _lent(ring)
    assert ring.hand_over(torch.zeros(SHAPE)) is None
    assert ring.hand_over(lent[1]) is None
    assert ring.hand_over(lent.transpose(1, 2)) is None
    assert ring.lend(0, (1_000, 3, 4, 4)) is None


def test_what_a_forked_process_may_still_read_is_never_written_again() -> None:
    ring = _ring()
    held = _lent(ring)
    address = held.data_ptr()
    child = multiprocessing.get_context("fork").Process(target=int)
    child.start()
    child.join()
    del held
    others = [_lent(ring)]
    assert others[0].data_ptr() != address
    assert ring.lend(0, SHAPE) is None


@pytest.mark.parametrize("persistent", [True, False])
def test_batches_that_are_kept_stay_as_they_were(
    make_loader: Callable[..., ScaeLoader], *, persistent: bool
) -> None:
    loader = make_loader(
        num_workers=1, start_method="fork", batch_size=2, persistent_workers=persistent
    )
    kept, copies = [], []
    for epoch in range(2):
        loader.set_epoch(epoch, epoch + 1)
        for batch in loader:
            kept.append(batch.images)
            copies.append(batch.images.clone())
    assert len(kept) > 20
    assert all(torch.equal(image, copy) for image, copy in zip(kept, copies, strict=True))


def test_epochs_left_early_do_not_use_the_places_up(
    make_loader: Callable[..., ScaeLoader],
) -> None:
    loader = make_loader(num_workers=1, start_method="fork", batch_size=2)
    for _ in range(12):
        loader.set_epoch(0, 1)
        next(iter(loader))
    loader.set_epoch(0, 1)
    shared = [batch.images.is_shared() for batch in loader]  # type: ignore[no-untyped-call]
    assert not any(shared)
