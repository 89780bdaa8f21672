from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from cache_store.store import SaliencyStore
from pipeline.errors import RecipeError, Stopped
from pipeline.refresh.compare import compare_generations
from pipeline.training import later_maps
from pipeline.training.followed_run import followed_run
from tests.training.later_runs import (
    LateMaker,
    assert_equal_runs,
    column,
    maps_by_epoch,
    run_recipe,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.training.recipe import Recipe

    MakeRecipe = Callable[..., Recipe]

ADAPTIVE = ("refresh.when=adaptive", "train.epochs=6", "refresh.interval=1", "data.evaluate=false")


def _distances(values: list[str]) -> dict[int, float]:
    return {epoch: float(value) for epoch, value in enumerate(values) if value}


def test_maps_are_made_anew_where_they_have_moved_beyond_the_threshold(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    lines: list[str] = []
    always = run_recipe(tiny_recipe(*ADAPTIVE, "refresh.threshold=0.0"), tmp_path / "always")
    assert maps_by_epoch(always) == [None, 0, 1, 2, 3, 4]
    measured = _distances(column(always, "map_distance"))
    assert sorted(measured) == [1, 2, 3, 4]
    # All 40 images are in the probe, so `scae cache diff` must find the same.
    store = SaliencyStore.open(always.cache)
    for epoch, distance in measured.items():
        used, new = store.generation(epoch), store.generation(epoch + 1)
        assert (used.provenance.epoch, new.provenance.epoch) == (epoch - 1, epoch)
        lam = 8.0 * (epoch + 1) / 6
        assert distance == pytest.approx(compare_generations(used, new, lam=lam).tv_distance)
    between = sorted(measured.values())[1]
    recipe = tiny_recipe(*ADAPTIVE, f"refresh.threshold={between}")
    some = run_recipe(recipe, tmp_path / "some", log=lines.append)
    found = _distances(column(some, "map_distance"))
    wanted = [value == "yes" for value in column(some, "refresh")]
    assert wanted == [True] + [found[epoch] > between for epoch in range(1, 5)] + [False]
    quiet = wanted.index(False)
    assert re.fullmatch(
        rf"no: maps have moved by 0\.\d+, refresh.threshold = {between:g}",
        column(some, "refresh")[quiet],
    )
    assert any(line.startswith(f"no new maps after epoch {quiet}: maps have") for line in lines)


def test_the_probe_is_a_fixed_choice_of_the_images(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    few = (*ADAPTIVE, "refresh.threshold=0.0", "refresh.probe=5", "train.epochs=3")
    runs = [run_recipe(tiny_recipe(*few), tmp_path / name) for name in ("one", "two")]
    distances = [column(run, "map_distance") for run in runs]
    assert distances[0] == distances[1]
    whole = run_recipe(tiny_recipe(*few, "refresh.probe=40"), tmp_path / "whole")
    assert column(whole, "map_distance")[1] != distances[0][1]


@pytest.mark.parametrize("executor", ["inline", "dask"])
def test_an_adaptive_run_resumes_to_the_bit(
    tmp_path: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    monkeypatch.setattr(later_maps, "ClusterMaker", LateMaker)
    monkeypatch.setattr(LateMaker, "looks", {0: 3})
    recipe = tiny_recipe(*ADAPTIVE, "refresh.threshold=0.001", f"refresh.executor={executor}")
    whole = run_recipe(recipe, tmp_path / "whole")
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked % 5 == 0

    while True:
        try:
            resumed = run_recipe(recipe, tmp_path / "parts", stop=stop, resume=True)
            break
        except Stopped:
            continue
    assert asked > 15
    assert_equal_runs(whole, resumed)
    if executor == "dask":  # nothing is measured while maps are on their way
        assert column(whole, "refresh")[1] == "no: the maps after epoch 0 are on their way"
        assert column(whole, "adopted")[1] == "0"


def test_a_watcher_refuses_a_run_whose_refreshes_only_the_trainer_knows(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    folder = run_recipe(tiny_recipe(*ADAPTIVE, "train.epochs=1"), tmp_path / "run")
    with pytest.raises(RecipeError, match=r"refresh.when must be 'interval' for a watcher"):
        followed_run(folder.path)
