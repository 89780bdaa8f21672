"""Readers beside publishers, and two refreshers of one generation at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cache_store.store import SaliencyStore
from cache_store.writer import GenerationWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cache_store.backend import Backend
    from cache_store.generation import Generation
    from cache_store.receipts import Receipt
    from cache_store.writer import GenerationPlan
    from tests.cache_store.conftest import Child
    from tests.conftest import TortureLog

    MakeChild = Callable[[], Child]
    Maps = Callable[..., NDArray[np.uint8]]
    MakeStore = Callable[..., SaliencyStore]
    MakePlan = Callable[..., GenerationPlan]
    WriteBlock = Callable[..., None]


GRACE_SECONDS = 0.5
"""Far less than a job's default, so that collections have work while the reader reads."""


class Race:
    """Three processes on one cache."""

    def __init__(self, make_child: MakeChild) -> None:
        self.writer, self.twin, self.reader = make_child(), make_child(), make_child()

    def read_beside_publishes(self, cache: Path, num_publishes: int) -> int:
        """Return how often the reader saw a whole generation while another was made."""
        self.reader.start(do="read many", url=cache, until=num_publishes, lease=True)
        self.writer.start(
            do="publish many", url=cache, first=1, count=num_publishes, keep=1, grace=GRACE_SECONDS
        )
        self.writer.answer()
        return int(self.reader.answer()["reads"])

    def refresh_at_once(self, cache: Path, salt: int) -> Generation:
        """Let two processes make one generation at once and return what is there then."""
        for child in (self.writer, self.twin):
            child.start(do="refresh", url=cache, salt=salt)
        answers = [child.answer() for child in (self.writer, self.twin)]
        assert answers[0]["digest"] == answers[1]["digest"]
        store = SaliencyStore.open(cache)
        assert store.generations() == tuple(range(1, salt + 1))
        generation = store.latest()
        assert generation.digest == answers[0]["digest"]
        assert generation.verify().ok
        return generation


@pytest.fixture
def race(make_child: MakeChild) -> Race:
    return Race(make_child)


def _check(generation: Generation, maps: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(np.asarray(generation.saliency[:]), maps)
    np.testing.assert_array_equal(generation.probabilities, maps[:, 0, 0] / 256)


def test_a_reader_beside_publishes_sees_whole_generations(race: Race, tmp_path: Path) -> None:
    assert race.read_beside_publishes(tmp_path / "c", 15) >= 2


def test_two_refreshers_at_once_make_one_valid_generation(
    race: Race, tmp_path: Path, formula_maps: Maps
) -> None:
    for salt in range(1, 11):
        _check(race.refresh_at_once(tmp_path / "c", salt), formula_maps(0, 20, salt))


@pytest.mark.torture
def test_a_reader_beside_200_publishes_sees_whole_generations(
    race: Race, tmp_path: Path, open_torture_log: Callable[[str], TortureLog]
) -> None:
    for case in open_torture_log("race-reader").todo([str(number) for number in range(4)]):
        assert race.read_beside_publishes(tmp_path / case, 200) >= 20


@pytest.mark.torture
def test_two_refreshers_at_once_never_spoil_a_generation(
    race: Race, tmp_path: Path, formula_maps: Maps, open_torture_log: Callable[[str], TortureLog]
) -> None:
    for case in open_torture_log("race-twins").todo([str(number) for number in range(20)]):
        for salt in range(1, 21):
            _check(race.refresh_at_once(tmp_path / case, salt), formula_maps(0, 20, salt))


def _written(store: SaliencyStore, plan: GenerationPlan, write_block: WriteBlock) -> Any:  # noqa: ANN401
    writer = store.begin(plan)
    for block in writer.pending():
        write_block(writer, block)
    return writer


def test_publisher_overtaken_before_it_reads_receipts_finds_the_generation(
    make_store: MakeStore,
    make_plan: MakePlan,
    write_block: WriteBlock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = make_store("memory://overtaken")
    writer = _written(store, make_plan(), write_block)
    twin = GenerationWriter.attach(store.url, writer.number)
    plain_receipts = twin.receipts

    def receipts_after_the_other_published() -> dict[int, Receipt]:
        store.publish(writer)
        return plain_receipts()

    monkeypatch.setattr(twin, "receipts", receipts_after_the_other_published)
    assert store.publish(twin).number == writer.number
    assert store.latest().verify().ok


def test_slower_publisher_with_other_columns_does_not_spoil_what_is_published(
    make_store: MakeStore, make_plan: MakePlan, write_block: WriteBlock
) -> None:
    store = make_store("memory://slower")
    writer = _written(store, make_plan(), write_block)
    twin = GenerationWriter.attach(store.url, writer.number)
    neighbours = np.full((4, 5), 3, np.int32)
    others = np.full((4, 5), 2, np.int32)  # as another kind of device might find
    backend = _StalledBackend(twin.backend, lambda: store.publish(writer, neighbours))
    twin.backend = backend  # type: ignore[assignment]
    assert store.publish(twin, others).number == writer.number
    assert store.latest().verify().ok


class _StalledBackend:
    """Lets somebody else work before the first array beside the maps is written."""

    def __init__(self, backend: Backend, others: Callable[[], object]) -> None:
        self._backend = backend
        self._others: Callable[[], object] | None = others

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._backend, name)

    def _stall(self, key: str) -> None:
        if self._others is not None and "class_neighbours" in key:
            others, self._others = self._others, None
            others()

    def write(self, key: str, data: bytes) -> None:
        self._stall(key)
        self._backend.write(key, data)

    def create(self, key: str, data: bytes) -> bool:
        self._stall(key)
        return self._backend.create(key, data)


def test_plan_published_meanwhile_is_not_begun_again(
    make_store: MakeStore, make_plan: MakePlan, write_block: WriteBlock
) -> None:
    store = make_store("memory://meanwhile")
    store.publish(_written(store, make_plan(), write_block))
    late = store.begin(make_plan())  # looked for the latest generation before it was published
    assert late.number == 1
    assert late.pending() == ()
    assert store.publish(late).number == 1
