"""Runs of one and two ranks, killed or told to stop at random moments, end as undisturbed ones."""

from __future__ import annotations

import csv
import random
import signal
from typing import TYPE_CHECKING, Any

import pytest
import torch

from cache_store.records import sha256
from cache_store.store import SaliencyStore
from pipeline.training.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.training.recipe import Recipe

    MakeRecipe = Callable[..., Recipe]
    RunRanks = Callable[..., list[int]]
    TortureLog = Any

SETTINGS = (
    "train.batch_size=8", "train.accumulate=2", "train.ema=0.5", "refresh.interval=1",
    "train.epochs=3", "second_stage.name=crt", "second_stage.epochs=1",
)  # fmt: skip
HARVEST = ("refresh.mode=harvest", "refresh.interval=0")
LATEST_QUESTION = 5
"""Such a run asks a rank about 26 times whether to stop; all strikes are to fall before its end."""


def _end(folder: RunFolder) -> str:
    """Return the hash of weights, averages, momenta, rows without times, and maps at the end."""
    state = torch.load(folder.checkpoint_paths()[-1], weights_only=True)
    momenta = [value["momentum_buffer"] for value in state["optimizer"]["state"].values()]
    tensors = [*state["model"].values(), *state["stage"].values(), *momenta]
    rows = list(csv.DictReader(folder.metrics_path.read_text().splitlines()))
    timed = ("seconds", "share", "images_per_second")
    kept = [{k: v for k, v in row.items() if not k.startswith(timed)} for row in rows]
    maps = SaliencyStore.open(folder.cache).latest().digest
    parts = [tensor.contiguous().numpy().tobytes() for tensor in tensors]
    return sha256(b"".join(parts) + repr((kept, maps)).encode())


def _undisturbed(run_ranks: RunRanks, recipe: Recipe, run: Path, ranks: int) -> str:
    assert run_ranks("train_under_fire", ranks, recipe, run, None, {}) == [0] * ranks
    return _end(RunFolder(run))


def _killed_over_and_over(
    run_ranks: RunRanks, recipe: Recipe, run: Path, ranks: int, seed: int
) -> tuple[str, int]:
    """Run to the end under fire; return what is there then, and the number of strikes that hit."""
    rng, hits = random.Random(seed), 0
    folder = RunFolder(run)
    for number in range(40):
        strike = None
        if number < 4:
            strike = {
                "signal": rng.choice((signal.SIGKILL, signal.SIGTERM)),
                "rank": rng.randrange(ranks),
                "question": rng.randint(1, LATEST_QUESTION),
                "delay": rng.choice((0.0, 0.001, 0.01, 0.03)),
            }
        # Every step, as if each took a quarter of an hour; or only when told to stop.
        options = {"checkpoint_seconds": rng.choice((0.0, 1e-9))}
        codes = run_ranks("train_under_fire", ranks, recipe, run, strike, options)
        if codes == [0] * ranks:
            assert folder.summary_path.is_file()
            return _end(folder), hits
        assert strike is not None
        expected = {-signal.SIGKILL, 1} if strike["signal"] == signal.SIGKILL else {75}
        assert set(codes) <= expected | {0}, codes
        hits += 1
    raise AssertionError("the run does not end")


@pytest.mark.parametrize(
    ("ranks", "words"), [(1, ()), (2, ()), (2, HARVEST)], ids=["1", "2", "2-harvested"]
)
def test_a_run_that_is_killed_ends_with_the_weights_of_an_undisturbed_one(
    tmp_path: Path,
    tiny_recipe: MakeRecipe,
    run_ranks: RunRanks,
    ranks: int,
    words: tuple[str, ...],
) -> None:
    recipe = tiny_recipe(*SETTINGS, *words)
    whole = _undisturbed(run_ranks, recipe, tmp_path / "whole", ranks)
    end, hits = _killed_over_and_over(run_ranks, recipe, tmp_path / "killed", ranks, seed=ranks)
    assert hits >= 2
    assert end == whole


@pytest.mark.torture
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_runs_killed_at_random_moments_end_with_the_weights_of_undisturbed_ones(
    tmp_path: Path,
    tiny_recipe: MakeRecipe,
    run_ranks: RunRanks,
    ranks: int,
    open_torture_log: Callable[..., TortureLog],
) -> None:
    recipe = tiny_recipe(*SETTINGS, *(["train.batch_size=9"] if ranks == 3 else []))
    whole = _undisturbed(run_ranks, recipe, tmp_path / "whole", ranks)
    for case in open_torture_log(f"training-kills-{ranks}", "pipeline/training").todo(
        [str(number) for number in range(12)]
    ):
        end, _ = _killed_over_and_over(
            run_ranks, recipe, tmp_path / case, ranks, seed=100 + int(case)
        )
        assert end == whole, case
