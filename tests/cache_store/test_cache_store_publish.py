"""A generation is published once, whole, whoever wrote its blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from cache_store import publish as publish_module
from cache_store.errors import CacheNotFoundError, DamagedCacheError, StoreError
from cache_store.layout import receipts_key
from cache_store.local_backend import LocalBackend
from cache_store.store import SaliencyStore
from cache_store.writer import GenerationWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cache_store.generation import Generation
    from cache_store.receipts import Receipt
    from cache_store.writer import GenerationPlan

    Publish = Callable[..., Generation]
    MakeStore = Callable[..., SaliencyStore]
    MakePlan = Callable[..., GenerationPlan]
    Maps = Callable[..., NDArray[np.uint8]]
    WriteBlock = Callable[..., None]


def test_nothing_is_visible_before_publication(
    tmp_path: Path, make_store: MakeStore, make_plan: MakePlan, write_block: WriteBlock
) -> None:
    store = make_store(tmp_path / "c")
    writer = store.begin(make_plan())
    for block in writer.pending():
        write_block(writer, block)
    assert store.generations() == ()
    with pytest.raises(CacheNotFoundError, match="no published generation: run 'scae refresh'"):
        store.latest()


def test_publish_refuses_while_blocks_are_missing(
    tmp_path: Path, make_store: MakeStore, make_plan: MakePlan, write_block: WriteBlock
) -> None:
    store = make_store(tmp_path / "c")
    writer = store.begin(make_plan())
    write_block(writer, 0)
    with pytest.raises(StoreError, match="2 of 3 blocks are missing, the first is 1"):
        store.publish(writer)
    assert store.generations() == ()


def test_rerun_of_a_plan_takes_up_what_receipts_prove(
    tmp_path: Path, make_store: MakeStore, make_plan: MakePlan, write_block: WriteBlock
) -> None:
    store = make_store(tmp_path / "c")
    writer = store.begin(make_plan())
    write_block(writer, 1)
    again = SaliencyStore.open(tmp_path / "c", "r+").begin(make_plan())
    assert again.number == writer.number
    assert again.pending() == (0, 2)


def test_another_plan_gets_another_number(
    tmp_path: Path, make_store: MakeStore, make_plan: MakePlan
) -> None:
    store = make_store(tmp_path / "c")
    assert store.begin(make_plan(weights="0")).number == 1
    assert store.begin(make_plan(weights="1")).number == 2
    assert store.begin(make_plan(weights="0")).number == 1


def test_receipt_of_a_changed_shard_does_not_count(
    tmp_path: Path, make_store: MakeStore, make_plan: MakePlan, write_block: WriteBlock
) -> None:
    writer = make_store(tmp_path / "c").begin(make_plan())
    for block in range(3):
        write_block(writer, block)
    shard = tmp_path / "c" / writer.spec.object_key(1)
    shard.write_bytes(shard.read_bytes()[:-1])
    assert writer.pending() == (1,)
    write_block(writer, 1)
    assert writer.pending() == ()


def test_second_writer_of_a_block_adopts_the_first_ones_bytes(
    tmp_path: Path,
    make_store: MakeStore,
    make_plan: MakePlan,
    write_block: WriteBlock,
    formula_maps: Maps,
) -> None:
    store = make_store(tmp_path / "c")
    writer = store.begin(make_plan())
    for block in range(3):
        write_block(writer, block)
    twin = GenerationWriter.attach(store.url, writer.number)
    write_block(twin, 0, salt=9)  # as another kind of device would: a few other bytes
    generation = store.publish(writer)
    np.testing.assert_array_equal(generation.saliency[:], formula_maps(0, 20))
    assert generation.verify().ok


def test_twin_that_publishes_second_finds_the_same_generation(
    tmp_path: Path, make_store: MakeStore, make_plan: MakePlan, write_block: WriteBlock
) -> None:
    store = make_store(tmp_path / "c")
    writer = store.begin(make_plan())
    for block in range(3):
        write_block(writer, block)
    twin = GenerationWriter.attach(store.url, writer.number)
    first = store.publish(writer)
    second = store.publish(twin)
    assert (first.number, first.digest) == (second.number, second.digest)
    assert store.generations() == (1,)


def test_publisher_stalled_before_the_pointer_never_moves_it_back(
    tmp_path: Path,
    make_store: MakeStore,
    make_plan: MakePlan,
    write_block: WriteBlock,
    monkeypatch: pytest.MonkeyPatch,
    publish: Publish,
) -> None:
    store = make_store(tmp_path / "c")
    stalled = store.begin(make_plan(weights="0"))
    for block in range(3):
        write_block(stalled, block)
    with monkeypatch.context() as patch:
        patch.setattr("cache_store.publish._point_to", lambda *_: None)
        store.publish(stalled)
    assert store.generations() == ()
    publish(store, weights="1")
    store.publish(stalled)
    assert store.latest().number == 2
    assert store.generations() == (1, 2)


def test_receipts_are_gone_after_publication(
    tmp_path: Path, make_store: MakeStore, publish: Publish
) -> None:
    publish(make_store(tmp_path / "c"))
    assert LocalBackend(tmp_path / "c").list(receipts_key(1)) == []


def test_caches_of_the_same_plan_are_equal_to_the_byte(
    tmp_path: Path, make_store: MakeStore, publish: Publish
) -> None:
    first = publish(make_store(tmp_path / "a"))
    other = make_store(tmp_path / "b")
    publish(other, weights="7", salt=3)
    second = publish(other)
    assert first.digest == second.digest
    assert first.digest != other.generation(1).digest


def test_twin_with_other_probabilities_cannot_change_what_is_published(
    tmp_path: Path,
    make_store: MakeStore,
    make_plan: MakePlan,
    formula_maps: Maps,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first publishes while the second, on another kind of device, is half-way through."""
    store = make_store(tmp_path / "c")
    writer = store.begin(make_plan())
    twin = GenerationWriter.attach(store.url, writer.number)

    def write_all(target: GenerationWriter, probability: float) -> None:
        for block in range(target.num_blocks):
            maps = formula_maps(*target.block_range(block))
            target.write_block(block, maps, np.full(len(maps), probability), ())

    write_all(writer, 0.5)
    real = publish_module._complete_receipts
    pending = [writer]

    def overtaken(target: GenerationWriter) -> dict[int, Receipt] | None:
        receipts = real(target)
        if target is twin and pending:
            first = pending.pop()
            write_all(first, 0.5)
            store.publish(first)
        return receipts

    monkeypatch.setattr(publish_module, "_complete_receipts", overtaken)
    write_all(twin, 0.25)
    generation = store.publish(twin)
    assert generation.verify().ok
    np.testing.assert_array_equal(generation.probabilities, np.full(20, 0.5))


def test_publish_does_not_list_damaged_samples_as_right(
    tmp_path: Path, make_store: MakeStore, publish: Publish
) -> None:
    store = make_store(tmp_path / "c")
    publish(store)
    path = tmp_path / "c" / "samples/label/c/0"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedCacheError, match=r"samples/label/c/0 .* run 'scae cache repair"):
        publish(store, weights="1")
    assert store.generations() == (1,)
