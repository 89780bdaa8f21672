"""Random damage to any file of a cache: named by verify, and never read as if it were data."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cache_store.errors import DamagedCacheError, ScaeError
from cache_store.store import SaliencyStore
from cache_store.verify import verify_cache
from cache_store.writer import read_plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cache_store.generation import Generation
    from tests.conftest import TortureLog

    Publish = Callable[..., Generation]
    MakeStore = Callable[..., SaliencyStore]
    Values = dict[str, Any]

NUM_GENERATIONS = 3
KINDS = ("flip", "truncate", "delete", "swap")
NUM_CASES = 2400
"""Cases of the long run."""
SHARE = 40
"""Every how manieth case `make test` takes."""


class DamageRun:
    """One cache that is damaged, read and put right again, case by case."""

    def __init__(self, cache: Path, folder: Path) -> None:
        self._cache = cache
        self._folder = folder
        self._contents = {
            path.relative_to(cache).as_posix(): path.read_bytes()
            for path in sorted(cache.rglob("*"))
            if path.is_file()
        }
        self._reference = self._read_all()
        assert not [value for value in self._reference.values() if isinstance(value, ScaeError)]

    def check(self, case: str) -> None:
        """Damage what the case says, then read everything and verify."""
        damaged = self._damage(case)
        try:
            for name, value in self._read_all().items():
                expected = self._reference[name]
                if name == "generations" and "delete" in case:
                    expected = tuple(n for n in expected if _pointer(n) not in damaged)
                if not isinstance(value, ScaeError):
                    assert value == expected, f"{case} of {damaged} changed {name}"
            report = verify_cache(self._cache, threads=1)
            # Swapped with its own manifest, nothing is left that says what an object should be.
            named = {*report.damaged, *report.unverifiable}
            assert set(damaged) <= named, f"{case}: verify did not name {damaged}"
            assert report.damaged
        finally:
            for key in damaged:
                (self._cache / key).parent.mkdir(parents=True, exist_ok=True)
                (self._cache / key).write_bytes(self._contents[key])

    def _damage(self, case: str) -> tuple[str, ...]:
        rng = random.Random(case)
        keys = list(self._contents)
        kind = case.split()[0]
        key, *others = rng.sample(keys, len(keys))
        data = self._contents[key]
        path = self._cache / key
        match kind:
            case "flip":
                at = rng.randrange(len(data))
                path.write_bytes(
                    data[:at] + bytes([data[at] ^ rng.randrange(1, 256)]) + data[at + 1 :]
                )
            case "truncate":
                path.write_bytes(data[: rng.randrange(len(data))])
            case "delete":
                path.unlink()
            case "swap":
                other = next(name for name in others if self._contents[name] != data)
                path.write_bytes(self._contents[other])
                (self._cache / other).write_bytes(data)
                return key, other
        return (key,)

    def _read_all(self) -> Values:
        values: Values = {}
        store = _attempt(values, "open", lambda: SaliencyStore.open(self._cache))
        if not isinstance(store, SaliencyStore):
            return values
        values["open"] = (store.num_samples, store.fingerprint, store.data)
        _attempt(values, "sample ids", lambda: store.sample_ids().tolist())
        _attempt(values, "generations", store.generations)
        for number in range(1, NUM_GENERATIONS + 1):
            self._read_generation(values, store, number)
        return values

    def _read_generation(self, values: Values, store: SaliencyStore, number: int) -> None:
        generation = _attempt(values, f"{number}", lambda: store.generation(number))
        if isinstance(generation, ScaeError):
            return
        values[f"{number}"] = (generation.digest, generation.number, generation.manifest)
        readers: dict[str, Callable[[], Any]] = {
            "maps": lambda: np.asarray(generation.saliency[:]).tolist(),
            "row": lambda: np.asarray(generation.saliency[17]).tolist(),
            "ids": lambda: generation.sample_ids.tolist(),
            "contents": lambda: generation.content_ids.tolist(),
            "labels": lambda: generation.labels.tolist(),
            "probabilities": lambda: generation.probabilities.tolist(),
            "neighbours": lambda: generation.class_neighbours.tolist(),
            "plan": lambda: _plan_of(store, number),
            "resident": lambda: self._resident(generation),
        }
        for name, read in readers.items():
            _attempt(values, f"{number} {name}", read)

    def _resident(self, generation: Generation) -> Any:  # noqa: ANN401
        folder = self._folder / "resident"
        try:
            maps = generation.resident(folder)
            return maps.maps.tolist(), maps.gains.tolist(), maps.floors.tolist(), maps.size
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _pointer(number: int) -> str:
    return f"_scae/published/{number:06d}.json"


def _plan_of(store: SaliencyStore, number: int) -> Any:  # noqa: ANN401
    return read_plan(store._backend, number)["plan"]


def _attempt(values: Values, name: str, read: Callable[[], Any]) -> Any:  # noqa: ANN401
    try:
        values[name] = read()
    except ScaeError as error:
        values[name] = error
    return values[name]


def _cases() -> list[str]:
    # The order is shuffled so that every share of the cases has all kinds.
    cases = [f"{kind} {number}" for number in range(NUM_CASES // len(KINDS)) for kind in KINDS]
    random.Random(0).shuffle(cases)
    return cases


@pytest.fixture
def damage_run(tmp_path: Path, make_store: MakeStore, publish: Publish) -> DamageRun:
    store = make_store(tmp_path / "c")
    for number in range(NUM_GENERATIONS):
        publish(store, weights=str(number), salt=number)
    return DamageRun(tmp_path / "c", tmp_path)


def test_damage_is_named_by_verify_and_never_read_as_data(damage_run: DamageRun) -> None:
    for case in _cases()[::SHARE]:
        damage_run.check(case)


@pytest.mark.torture
def test_damage_of_every_kind_is_named_and_never_read(
    damage_run: DamageRun, open_torture_log: Callable[[str], TortureLog]
) -> None:
    for case in open_torture_log("damage").todo(_cases()):
        damage_run.check(case)


@pytest.fixture
def cache(tmp_path: Path, make_store: MakeStore, publish: Publish) -> Path:
    publish(make_store(tmp_path / "c"))
    return tmp_path / "c"


def _swap(one: Path, other: Path) -> None:
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def test_a_record_under_another_records_name_is_refused(cache: Path) -> None:
    _swap(cache / "_scae/published/000001.json", cache / "_scae/plans/000001.json")
    store = SaliencyStore.open(cache)
    with pytest.raises(DamagedCacheError, match="is another record than its name says"):
        store.generation(1)
    with pytest.raises(DamagedCacheError, match="is another record than its name says"):
        read_plan(store._backend, 1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param('"num_samples": 20', '"num_samples": 30', id="number-of-samples"),
        pytest.param('"ffff', '"fffe', id="fingerprint"),
        pytest.param('"toy"', '"toe"', id="name"),
    ],
)
def test_a_changed_identity_in_the_root_is_refused(cache: Path, before: str, after: str) -> None:
    root = cache / "zarr.json"
    text = root.read_text()
    assert before in text
    root.write_text(text.replace(before, after))
    with pytest.raises(DamagedCacheError, match="name different data"):
        SaliencyStore.open(cache)


def test_sample_ids_that_are_another_array_are_refused(cache: Path) -> None:
    _swap(cache / "samples/sample_id/c/0", cache / "samples/content_id/c/0")
    with pytest.raises(DamagedCacheError, match=r"sample ids of cache .* have changed"):
        SaliencyStore.open(cache).sample_ids()
