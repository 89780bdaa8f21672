"""SIGKILL at every moment between two storage operations, and at random ones."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cache_store.errors import CacheNotFoundError
from cache_store.store import SaliencyStore
from cache_store.verify import verify_cache

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from tests.cache_store.conftest import Child
    from tests.conftest import TortureLog

    Maps = Callable[..., NDArray[np.uint8]]

SALTS = {1: 1, 2: 2}
"""Number of a generation -> the salt of its maps."""
NUM_RANDOM = 60
"""Random moments of the long run."""
SHARE = 12
"""Every how manieth case `make test` takes."""


class KillRun:
    """Caches as they were before a refresh, and what that refresh makes when nobody disturbs it."""

    def __init__(self, child: Child, folder: Path, maps: Maps, *, fsync: bool) -> None:
        self._child = child
        self._fsync = fsync
        self._folder = folder
        self._maps = maps
        self._answers = {name: self._undisturbed(name) for name in ("first", "next")}

    def cases(self) -> list[str]:
        """Return every moment of the first and the next refresh, then random ones."""
        points = [
            f"{name} {step}"
            for name, answer in self._answers.items()
            for step in range(1, answer["steps"] + 1)
        ]
        rng = random.Random(0)
        seconds = {name: answer["seconds"] for name, answer in self._answers.items()}
        spread = [f"next at {rng.uniform(0.0, seconds['next']):.4f}" for _ in range(NUM_RANDOM)]
        return points + spread

    def check(self, case: str) -> bool:
        """Kill, read, run again; return whether the process really was killed."""
        name, *_, when = case.split()
        cache = self._fresh(name)
        when_key = "kill_after" if " at " in case else "die_at"
        killed = self._child.run(**self._job(name, cache), **{when_key: float(when)})
        self._check_whole(cache)
        self._check_books(cache, leftovers=True)
        answer = self._child.run(**self._job(name, cache))
        assert answer["digest"] == self._answers[name]["digest"]
        numbers = self._check_whole(cache)
        assert numbers[-1] == answer["number"] == self._answers[name]["number"]
        self._check_books(cache, leftovers=False)
        shutil.rmtree(cache)
        return bool(killed["killed"])

    def _undisturbed(self, name: str) -> dict[str, Any]:
        if name == "next":
            before = self._folder / "before-next"
            self._child.run(do="refresh", url=before, salt=SALTS[1])
        cache = self._fresh(name)
        answer = self._child.run(**self._job(name, cache))
        shutil.rmtree(cache)
        return answer

    def _fresh(self, name: str) -> Path:
        cache = self._folder / "cache"
        if name == "next":
            shutil.copytree(self._folder / "before-next", cache)
        return cache

    def _job(self, name: str, cache: Path) -> dict[str, Any]:
        salt = SALTS[1 if name == "first" else 2]
        return {"do": "refresh", "url": cache, "salt": salt, "fsync": self._fsync, "keep": 1}

    def _check_whole(self, cache: Path) -> tuple[int, ...]:
        try:
            store = SaliencyStore.open(cache)
        except CacheNotFoundError:
            return ()
        numbers = store.generations()
        for number in numbers:
            generation = store.generation(number)
            maps = self._maps(0, 20, SALTS[number])
            np.testing.assert_array_equal(np.asarray(generation.saliency[:]), maps)
            np.testing.assert_array_equal(generation.probabilities, maps[:, 0, 0] / 256)
        return numbers

    def _check_books(self, cache: Path, *, leftovers: bool) -> None:
        if (cache / "zarr.json").exists():
            report = verify_cache(cache, threads=1)
            assert report.damaged == {}
            assert report.foreign == ()
            assert leftovers or report.leftovers == ()


def test_a_killed_refresh_leaves_the_cache_whole_and_a_rerun_ends_alike(
    child: Child, tmp_path: Path, formula_maps: Maps
) -> None:
    kill_run = KillRun(child, tmp_path, formula_maps, fsync=False)
    cases = kill_run.cases()
    num_killed = sum(kill_run.check(case) for case in cases[::SHARE])
    assert num_killed > len(cases) // SHARE * 3 // 4


@pytest.mark.torture
def test_a_kill_at_any_moment_leaves_the_cache_whole(
    child: Child,
    tmp_path: Path,
    formula_maps: Maps,
    open_torture_log: Callable[[str], TortureLog],
) -> None:
    kill_run = KillRun(child, tmp_path, formula_maps, fsync=True)
    cases = kill_run.cases()
    assert len(cases) >= 250
    for case in open_torture_log("kill").todo(cases):
        assert kill_run.check(case) or " at " in case
