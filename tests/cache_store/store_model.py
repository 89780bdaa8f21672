"""A model of the store in a few dicts, and machines that compare a store with it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from cache_store.backend import Backend
from cache_store.errors import CacheNotFoundError, DamagedCacheError, StoreError
from cache_store.generation import Generation
from cache_store.layout import plan_key
from cache_store.provenance import Provenance
from cache_store.store import SaliencyStore
from cache_store.writer import GenerationPlan, GenerationWriter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cache_store.leases import Lease

NUM_SAMPLES = 5
BLOCK_ROWS = 2
SALTS = st.integers(0, 3)


def _maps(start: int, stop: int, salt: int) -> NDArray[np.uint8]:
    rows = np.arange(start, stop).reshape(-1, 1, 1)
    return ((rows * 29 + np.arange(4).reshape(1, 2, 2) * 7 + salt * 13 + 1) % 256).astype(np.uint8)


def _probability(maps: NDArray[np.uint8]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = maps[:, 0, 0] / 256
    return values


def _plan(salt: int) -> GenerationPlan:
    provenance = Provenance(
        data="toy",
        fingerprint="f" * 64,
        network="none",
        weights="random",
        weights_digest=str(salt) * 64,
        target_layer="none",
        size=8,
        mean=(0.5,),
        std=(0.25,),
        batch_size=1,
        channels_last=False,
        precision="fp32",
        device_type="cpu",
        code_version="0",
    )
    return GenerationPlan(
        provenance=provenance,
        num_samples=NUM_SAMPLES,
        map_shape=(2, 2),
        block_rows=BLOCK_ROWS,
        chunk_rows=1,
    )


class Crash(BaseException):
    """Stands for the end of the process."""


class CrashingBackend:
    """Hands every operation on to a backend and crashes before or after a given one."""

    def __init__(self, backend: Backend, crash_at: int) -> None:
        self._backend = backend
        self._left = crash_at

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        value = getattr(self._backend, name)
        if not callable(value):
            return value

        def operation(*args: Any) -> Any:  # noqa: ANN401
            self._step()
            result = value(*args)
            self._step()
            return result

        return operation

    def _step(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise Crash


class StoreMachine(RuleBasedStateMachine):
    """Random histories; `published` and `claimed` are the model."""

    url: str
    store: SaliencyStore

    def make_url(self) -> str:
        """Return the place of a new cache."""
        raise NotImplementedError

    @initialize()
    def create(self) -> None:
        self.published: dict[int, int] = {}  # number -> salt
        self.claimed: dict[int, int] = {}  # salt -> number, not published yet
        self.pins: list[tuple[Generation, int, Lease | None]] = []
        self.highest = 0
        self.url = self.make_url()
        self.store = self._create()

    def _create(self) -> SaliencyStore:
        ids = np.arange(NUM_SAMPLES, dtype=np.uint64)
        return SaliencyStore.create(
            self.url,
            sample_ids=ids,
            content_ids=ids + np.uint64(9),
            labels=np.zeros(NUM_SAMPLES, np.int64),
            fingerprint="f" * 64,
            data="toy",
            fsync=False,
        )

    def _is_latest(self, salt: int) -> bool:
        """Tell whether a refresh would find that it has nothing to do."""
        return bool(self.published) and self.published[max(self.published)] == salt

    @rule(salt=SALTS, num_blocks=st.integers(0, 3))
    def write(self, salt: int, num_blocks: int) -> None:
        if self._is_latest(salt):
            return
        writer = self._begin(self.store, salt)
        for block in writer.pending()[:num_blocks]:
            self._write_block(writer, block, salt)

    @rule(salt=SALTS)
    def write_a_block_again(self, salt: int) -> None:
        if self._is_latest(salt):
            return
        self._write_block(self._begin(self.store, salt), 0, salt)

    @rule(salt=SALTS)
    def publish(self, salt: int) -> None:
        if self._is_latest(salt):
            return
        writer = self._begin(self.store, salt)
        if writer.pending():
            with pytest.raises(StoreError, match="blocks are missing"):
                self.store.publish(writer)
            return
        assert self.store.publish(writer).number == writer.number
        del self.claimed[salt]
        self.published[writer.number] = salt

    @rule(salt=SALTS, crash_at=st.integers(1, 150))
    def refresh_and_crash(self, salt: int, crash_at: int) -> None:
        if self._is_latest(salt):
            return
        number = self.claimed.get(salt, self.highest + 1)
        crashing = SaliencyStore.open(self.url, "r+", fsync=False)
        backend = crashing._backend
        crashing._backend = CrashingBackend(backend, crash_at)  # type: ignore[assignment]
        try:
            writer = crashing.begin(_plan(salt))
            for block in writer.pending():
                self._write_block(writer, block, salt)
            crashing.publish(writer)
        except Crash:
            pass
        if number in self.store.generations():
            self.published[number] = salt
            self.claimed.pop(salt, None)
        elif backend.length(plan_key(number)) is not None:
            self.claimed[salt] = number
        self.highest = max(self.highest, *self.published, *self.claimed.values(), 0)

    @rule()
    def reopen(self) -> None:
        self.store = SaliencyStore.open(self.url, "r+", fsync=False)

    @rule()
    def create_again(self) -> None:
        self.store = self._create()

    @precondition(lambda self: bool(self.published))
    @rule(data=st.data(), leased=st.booleans())
    def pin(self, data: st.DataObject, *, leased: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.published)))
        lease = self.store.lease(number, owner="model") if leased else None
        self.pins.append((self.store.generation(number), self.published[number], lease))

    @precondition(lambda self: bool(self.pins))
    @rule()
    def unpin(self) -> None:
        *_, lease = self.pins.pop(0)
        if lease is not None:
            lease.release()

    @rule(keep=st.integers(1, 3))
    def gc(self, keep: int) -> None:
        promised = self.store.gc(keep=keep, grace_seconds=0.0, dry_run=True)
        report = self.store.gc(keep=keep, grace_seconds=0.0)
        held = {generation.number for generation, _, lease in self.pins if lease is not None}
        kept = set(sorted(self.published)[-keep:]) | held
        assert report.generations == tuple(sorted(set(self.published) - kept))
        assert promised.generations == report.generations
        self.published = {number: self.published[number] for number in kept & set(self.published)}
        self.claimed = {}

    @rule(keep=st.integers(1, 3), crash_at=st.integers(1, 80))
    def gc_and_crash(self, keep: int, crash_at: int) -> None:
        crashing = SaliencyStore.open(self.url, "r+", fsync=False)
        crashing._backend = CrashingBackend(crashing._backend, crash_at)  # type: ignore[assignment]
        try:
            crashing.gc(keep=keep, grace_seconds=0.0)
        except Crash:
            pass
        there = self.store.generations()
        held = {generation.number for generation, _, lease in self.pins if lease is not None}
        assert set(there) <= set(self.published)
        assert set(there) >= set(sorted(self.published)[-keep:]) | held & set(self.published)
        self.published = {number: self.published[number] for number in there}
        self.gc(keep)

    @precondition(lambda self: bool(self.published))
    @rule(data=st.data(), flip=st.booleans())
    def corrupt(self, data: st.DataObject, *, flip: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.published)))
        generation = self.store.generation(number)
        key = data.draw(st.sampled_from(sorted(generation.manifest.objects)))
        backend = self.store._backend
        before = backend.read(key)
        assert before is not None
        backend.delete(key)
        if flip:
            at = data.draw(st.integers(0, len(before) - 1))
            backend.write(key, before[:at] + bytes([before[at] ^ 1]) + before[at + 1 :])
        assert list(generation.verify().damaged) == [key]
        if "/saliency/" in key:
            with pytest.raises(DamagedCacheError):
                self._check_values(self.store.generation(number), self.published[number])
        backend.write(key, before)

    @invariant()
    def published_generations_are_there_and_no_others(self) -> None:
        assert self.store.generations() == tuple(sorted(self.published))
        if not self.published:
            with pytest.raises(CacheNotFoundError):
                self.store.latest()
            return
        assert self.store.latest().number == max(self.published)
        for number, salt in self.published.items():
            self._check_values(self.store.generation(number), salt)

    @invariant()
    def pinned_generations_keep_their_values(self) -> None:
        for generation, salt, lease in self.pins:
            if lease is not None or generation.number in self.published:
                self._check_values(generation, salt)
                continue
            # Collected without a lease: an error then, but never other values.
            with pytest.raises(DamagedCacheError, match="is missing"):
                Generation(generation._backend, generation.manifest).saliency[:]

    def _begin(self, store: SaliencyStore, salt: int) -> GenerationWriter:
        writer = store.begin(_plan(salt))
        assert writer.number == self.claimed.get(salt, self.highest + 1)
        self.claimed[salt] = writer.number
        self.highest = max(self.highest, writer.number)
        return writer

    def _write_block(self, writer: GenerationWriter, block: int, salt: int) -> None:
        maps = _maps(*writer.block_range(block), salt)
        writer.write_block(block, maps, _probability(maps), ())

    def _check_values(self, generation: Generation, salt: int) -> None:
        maps = _maps(0, NUM_SAMPLES, salt)
        np.testing.assert_array_equal(np.asarray(generation.saliency[:]), maps)
        np.testing.assert_array_equal(generation.probabilities, _probability(maps))


class MemoryMachine(StoreMachine):
    """Histories on memory://."""

    number = 0

    def make_url(self) -> str:
        MemoryMachine.number += 1
        return f"memory://model-{MemoryMachine.number}"

    def teardown(self) -> None:
        for info in self.store._backend.list(""):
            self.store._backend.delete(info.key)


class LocalMachine(StoreMachine):
    """Histories on a local folder, without fsync."""

    def make_url(self) -> str:
        self.folder = tempfile.mkdtemp(prefix="scae-model-")
        return str(Path(self.folder) / "c")

    def teardown(self) -> None:
        shutil.rmtree(self.folder)
