from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from cache_store.store import SaliencyStore
from pipeline.errors import RecipeError, RefreshError, Stopped
from pipeline.refresh.background import BackgroundRefreshes, Ended
from pipeline.refresh.watch import watch
from pipeline.refresh.watch_options import WatchOptions
from pipeline.training import later_maps
from pipeline.training.followed_run import followed_run
from pipeline.training.run_folder import RunFolder
from tests.training.later_runs import (
    LateMaker,
    assert_equal_runs,
    column,
    maps_by_epoch,
    run_recipe,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pipeline.training.recipe import Recipe

    MakeRecipe = Callable[..., Recipe]

DASK = ("refresh.executor=dask", "data.evaluate=false", "train.keep_checkpoints=1")
EXTERNAL = ("refresh.executor=external", "data.evaluate=false")


@pytest.fixture
def late_maker(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[LateMaker]]:
    """The stand-in in place of the cluster."""
    monkeypatch.setattr(later_maps, "ClusterMaker", LateMaker)
    monkeypatch.setattr(later_maps, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(LateMaker, "looks", {})
    monkeypatch.setattr(LateMaker, "living", [])
    yield LateMaker
    assert all(maker.closed for maker in LateMaker.living)


def _watch(folder: RunFolder, cache: Path | None = None, *, batch_size: int = 128) -> None:
    """Do what `scae watch --until-done` does, or make maps in another way."""
    followed = followed_run(folder.path)
    assert followed is not None
    followed = replace(followed, options=replace(followed.options, batch_size=batch_size))
    options = WatchOptions(
        run=folder.path,
        checkpoints=folder.checkpoints,
        cache=str(cache or folder.cache),
        state=folder.path / f"watch-{batch_size}",
        log=lambda event, text, **_fields: None,
        until_done=True,
        poll_seconds=0.01,
    )
    watch(lambda: followed, options)


@pytest.mark.parametrize(
    ("lag", "interval", "expected"),
    [
        pytest.param(1, 2, [None, None, None, 1, 1, 3, 3, 5], id="lag-1-of-2"),
        pytest.param(1, 1, [None, None, 0, 1, 2, 3, 4, 5], id="as-often-as-late"),
        pytest.param(3, 1, [None, None, None, None, 0, 1, 2, 3], id="several-on-their-way"),
        pytest.param(4, 2, [None, None, None, None, None, None, 1, 1], id="lag-twice-interval"),
        pytest.param(9, 1, [None] * 8, id="later-than-the-end"),
    ],
)
def test_maps_are_adopted_after_the_lag_neither_earlier_nor_later(
    tmp_path: Path,
    tiny_recipe: MakeRecipe,
    late_maker: type[LateMaker],
    lag: int,
    interval: int,
    expected: list[int | None],
) -> None:
    late_maker.looks.update({1: 40, 3: 1})
    recipe = tiny_recipe(
        *DASK, f"refresh.lag={lag}", f"refresh.interval={interval}", "train.epochs=8"
    )
    folder = run_recipe(recipe, tmp_path / "run")
    found = maps_by_epoch(folder) if any(expected) else [None] * 8
    assert found == expected
    changed = [new for old, new in zip([None, *expected], expected, strict=False) if new != old]
    assert [value for value in column(folder, "adopted") if value] == [str(one) for one in changed]


def test_late_maps_are_waited_for_and_the_time_is_counted(
    tmp_path: Path, tiny_recipe: MakeRecipe, late_maker: type[LateMaker]
) -> None:
    late_maker.looks.update({1: 300})
    lines: list[str] = []
    shown: list[tuple[int, int]] = []
    folder = run_recipe(
        tiny_recipe(*DASK),
        tmp_path / "run",
        log=lines.append,
        progress=lambda label: (
            (lambda done, total: shown.append((done, total)))
            if label == "new maps"
            else (lambda _done, _total: None)
        ),
    )
    waiting = [line for line in lines if line.startswith("waiting for")]
    assert waiting == ["waiting for the maps after epoch 1: hurry up"]
    assert shown == [(1, 40)] * 299
    seconds = [float(value) for value in column(folder, "seconds_refresh")]
    assert seconds[2] > 0.299
    assert max(seconds[0], seconds[3]) < 0.1


def test_stopped_and_resumed_anywhere_equals_undisturbed_to_the_bit(
    tmp_path: Path, tiny_recipe: MakeRecipe, late_maker: type[LateMaker]
) -> None:
    recipe = tiny_recipe(
        *DASK, "refresh.lag=3", "train.epochs=8", "second_stage.name=crt", "second_stage.epochs=1"
    )
    late_maker.looks.update({1: 3, 3: 3})
    undisturbed = run_recipe(recipe, tmp_path / "whole")
    assert maps_by_epoch(undisturbed) == [None] * 5 + [1, 1, 3, 3]
    stops, asked = 0, 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked % 3 == 0  # in each epoch, between them, and while waiting

    while True:
        try:
            resumed = run_recipe(recipe, tmp_path / "parts", stop=stop, resume=True)
            break
        except Stopped as stopped:
            assert "--resume" in str(stopped)  # noqa: PT017
            stops += 1
    assert stops >= 8
    assert_equal_runs(undisturbed, resumed)
    assert column(resumed, "refresh")[-1] == "no: second stage"


def test_maps_that_were_published_before_a_crash_are_adopted_and_not_made_again(
    tmp_path: Path,
    tiny_recipe: MakeRecipe,
    late_maker: type[LateMaker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = tiny_recipe(*DASK)
    undisturbed = run_recipe(recipe, tmp_path / "whole")

    class Crash(Exception):  # noqa: N818
        pass

    def crash(*_: object) -> str:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(later_maps, "_told", crash)
        with pytest.raises(Crash):
            run_recipe(recipe, tmp_path / "run")
    late_maker.living.clear()
    resumed = run_recipe(recipe, tmp_path / "run", resume=True)
    assert_equal_runs(undisturbed, resumed)
    assert [maker.begun for maker in late_maker.living] == [{}]


@pytest.mark.parametrize(
    ("ended", "error", "message"),
    [
        pytest.param(
            Ended(key=1, error="no space"), RefreshError,
            "the maps after epoch 1 were not made: no space; then go on .* --resume",
            id="failed",
        ),
        pytest.param(
            Ended(key=1, error="scheduler lost", resumable=True), Stopped, "scheduler lost",
            id="stopped",
        ),
    ],
)  # fmt: skip
def test_maps_that_can_not_be_made_end_the_run_when_they_are_due(
    tmp_path: Path,
    tiny_recipe: MakeRecipe,
    monkeypatch: pytest.MonkeyPatch,
    ended: Ended,
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setattr(BackgroundRefreshes, "submit", lambda _self, _key, _plan: None)
    monkeypatch.setattr(BackgroundRefreshes, "look", lambda _self, _key: ended)
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(error, match=message):
        run_recipe(tiny_recipe(*DASK), folder.path)
    assert folder.checkpoint_path(2).is_file()  # after it they are due, and not before


def test_the_weights_that_maps_are_made_from_outlive_their_checkpoint(
    tmp_path: Path, tiny_recipe: MakeRecipe, late_maker: type[LateMaker]
) -> None:
    folder = RunFolder(tmp_path / "run")
    seen: list[tuple[list[str], list[str]]] = []

    def note(line: str) -> None:
        if line.startswith("epoch"):
            names = [sorted(path.name for path in place.glob("*")) for place in places]
            seen.append((names[0], names[1]))

    places = (folder.checkpoints, folder.refreshing)
    recipe = tiny_recipe(*DASK, "refresh.lag=2", "train.epochs=7")
    run_recipe(recipe, folder.path, log=note)
    # The line of epoch e comes before its checkpoint; maps after epoch 1 are for 4, after 3 for 6.
    kept = {1: "epoch-0001.pt", 3: "epoch-0003.pt"}
    assert [refreshing for _, refreshing in seen] == [
        [], [], [kept[1]], [kept[1]], [kept[1], kept[3]], [kept[3]], [kept[3]],
    ]  # fmt: skip
    assert all(len(checkpoints) <= 1 for checkpoints, _ in seen)


def test_a_run_without_the_weights_for_its_maps_is_not_resumed(
    tmp_path: Path, tiny_recipe: MakeRecipe, late_maker: type[LateMaker]
) -> None:
    recipe = tiny_recipe(*DASK, "refresh.lag=2", "train.epochs=7")
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(Stopped):
        run_recipe(recipe, folder.path, stop=lambda: folder.checkpoint_path(2).exists())
    (folder.refreshing / "epoch-0001.pt").unlink()
    with pytest.raises(RecipeError, match=r"weights after epoch 1.*refreshing.*put the file back"):
        run_recipe(recipe, folder.path, resume=True)


def test_maps_without_a_watcher_end_the_run_so_that_it_can_be_resumed(
    tmp_path: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(later_maps, "POLL_SECONDS", 0.01)
    recipe = tiny_recipe(*EXTERNAL, "refresh.timeout=0.2")
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(Stopped, match=r"epoch 1 are not there after 0.2 s.*'scae watch .*run'"):
        run_recipe(recipe, folder.path)
    _watch(folder)
    resumed = run_recipe(recipe, folder.path, resume=True)
    assert maps_by_epoch(resumed) == [None, None, None, 1]
    assert column(resumed, "adopted") == ["", "", "1", ""]


def test_a_watcher_and_a_cluster_make_the_same_run(
    tmp_path: Path, tiny_recipe: MakeRecipe, late_maker: type[LateMaker]
) -> None:
    by_cluster = run_recipe(tiny_recipe(*DASK), tmp_path / "cluster")
    folder = RunFolder(tmp_path / "watched")

    def listen(line: str) -> None:
        if line.startswith("waiting for"):
            _watch(folder)

    watched = run_recipe(
        tiny_recipe(*EXTERNAL, "train.keep_checkpoints=2"), folder.path, log=listen
    )
    assert_equal_runs(by_cluster, watched)


def test_maps_of_another_run_in_the_cache_are_never_adopted(
    tmp_path: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(later_maps, "POLL_SECONDS", 0.01)
    cache = tmp_path / "shared.zarr"
    other = tiny_recipe("seed=7", "data.evaluate=false", "train.epochs=3")
    run_recipe(other, tmp_path / "other", cache=str(cache))
    assert SaliencyStore.open(cache).latest().provenance.epoch == 1  # the epoch that is waited for
    recipe = tiny_recipe(*EXTERNAL, "refresh.timeout=0.1")
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(Stopped, match="are not there") as late:
        run_recipe(recipe, folder.path, cache=str(cache))
    assert f"--cache {cache}" in str(late.value)
    assert column(folder, "generation") == ["1"] * 3
    # Nor such of the same weights that were made in another way.
    _watch(folder, cache, batch_size=7)
    with pytest.raises(Stopped, match=r"generation 2 differs in batch_size \(7 there, 128 here\)"):
        run_recipe(recipe, folder.path, cache=str(cache), resume=True)
    _watch(folder, cache)
    resumed = run_recipe(recipe, folder.path, cache=str(cache), resume=True)
    assert column(resumed, "generation") == ["1", "1", "1", "3"]


def test_as_soon_as_adopts_whatever_is_there_and_says_that_it_depends_on_time(
    tmp_path: Path, tiny_recipe: MakeRecipe, late_maker: type[LateMaker]
) -> None:
    late_maker.looks.update({1: 4, 3: 1})
    lines: list[str] = []
    recipe = tiny_recipe(*DASK, "refresh.adopt=as-soon-as", "train.epochs=8")
    folder = run_recipe(recipe, tmp_path / "run", log=lines.append)
    # After epochs 1, 2 and 3 those of 1 are not there; those of 3 are at once, and are newer.
    assert maps_by_epoch(folder) == [None, None, None, None, 3, 3, 5, 5]
    assert column(folder, "adopted") == ["", "", "", "3", "", "5", "", ""]
    assert "can't be repeated" in lines[0]
