from __future__ import annotations

import pytest

from pipeline.errors import RecipeError
from pipeline.training.recipe_file import load_recipe
from pipeline.training.refresh_recipe import LATER_REFRESH_KEYS, RefreshRecipe


def test_recipes_of_recorded_runs_keep_their_digest() -> None:
    # As computed by the version before there were executors.
    assert load_recipe(None).digest() == (
        "9dddc58e361b2820335b342a71d73bcd1d89b81048838ce605da081d9b9c9eeb"
    )
    changed = load_recipe(None, ["refresh.interval=2", "refresh.precision=bf16"])
    assert changed.digest() == "725871277749cc2971ae67dfe865273daa58987275fabdc9995160c44fc14398"
    assert not set(LATER_REFRESH_KEYS) & set(load_recipe(None).as_dict()["refresh"])
    assert all(getattr(RefreshRecipe(), key) == value for key, value in LATER_REFRESH_KEYS.items())


def _digest(*words: str) -> str:
    return load_recipe(None, [f"refresh.{word}" for word in words]).digest()


def test_who_makes_the_maps_is_not_in_the_digest_but_how_late_they_come_is() -> None:
    late = _digest("executor=dask")
    assert late == _digest("executor=external", "timeout=5")
    assert late == _digest("executor=dask", "workers=2", "memory_limit=1GiB")
    assert late == _digest("executor=dask", "scheduler=tcp://node:1")
    digests = {
        late,
        _digest(),
        _digest("executor=dask", "lag=2"),
        _digest("executor=dask", "adopt=as-soon-as"),
        _digest("when=adaptive"),
        _digest("when=adaptive", "threshold=0.1"),
        _digest("when=adaptive", "probe=64"),
    }
    assert len(digests) == 7
    soon = _digest("executor=external", "adopt=as-soon-as")
    assert soon == _digest("executor=dask", "adopt=as-soon-as")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lag=2"], "lag must be left out with refresh.executor 'inline'"),
        (["workers=2"], "workers must be left out with refresh.executor 'inline'.* to dask"),
        (["scheduler=tcp://a:1", "executor=external"], "scheduler must be left out with"),
        (["adopt=as-soon-as"], "adopt must be left out with refresh.executor 'inline'"),
        (["threshold=0.1"], "threshold must be left out with refresh.when 'interval'"),
        (["executor=dask", "lag=0"], "lag must be 1 or more, got 0"),
        (["executor=dask", "timeout=0"], "timeout must be above 0, got 0"),
        (["executor=dask", "workers=1", "scheduler=x"], r"workers, scheduler, scheduler_file, got"),
        (["executor=dask", "adopt=as-soon-as", "lag=2"], "lag must be left out with adopt"),
        (["executor=external", "lag=4"], r"lag must be below refresh.interval .*\(4\), got 4"),
        (["executor=external", "when=adaptive"], "when must be 'interval' with executor"),
        (["executor=external", "lag=2"], "keep_checkpoints must be above refresh.lag = 2.* got 2"),
        (["when=adaptive", "threshold=1.5"], "threshold must be 0 or more and below 1, got 1.5"),
        (["when=adaptive", "probe=0"], "probe must be 1 or more, got 0"),
        (["executor=dusk"], "refresh.executor must be one of inline, dask, external, got 'dusk'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_refresh_settings_that_make_no_sense_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(None, [f"refresh.{word}" for word in words])
