from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from cache_store.store import SaliencyStore
from pipeline.errors import RecipeError
from pipeline.refresh.plan import plan_refresh
from pipeline.refresh.watch import watch
from pipeline.refresh.watch_options import WatchOptions
from pipeline.training.followed_run import followed_run
from pipeline.training.trainer import TrainOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.training.recipe import Recipe


@pytest.mark.parametrize(
    "overrides",
    [[], ["second_stage.name=tau-norm", "second_stage.holdout=0.3"]],
    ids=["all-images", "some-held-out"],
)
def test_watcher_finds_the_trainers_own_generation(
    tmp_path: Path, tiny_recipe: Callable[..., Recipe], overrides: list[str]
) -> None:
    recipe = tiny_recipe("train.keep_checkpoints=9", *overrides)
    folder = train(recipe, TrainOptions(run=tmp_path / "run", log=lambda _line: None))
    made = SaliencyStore.open(folder.cache).latest()
    followed = followed_run(folder.path)
    assert followed is not None
    assert followed.policy.epochs() == (1,) == (made.provenance.epoch,)
    plan = plan_refresh(
        followed.data,
        replace(followed.network, weights=str(folder.checkpoint_path(1))),
        folder.cache,
        replace(followed.options, epoch=1),
        opened=followed.opened,
    )
    assert plan.generation == made.manifest.plan
    watch(
        lambda: followed,
        WatchOptions(
            run=folder.path,
            checkpoints=folder.checkpoints,
            cache=str(folder.cache),
            state=folder.path / "watch",
            until_done=True,
            log=lambda event, text, **_fields: None,
        ),
    )
    assert SaliencyStore.open(folder.cache).generations() == (made.number,)


def test_run_without_erasing_has_nothing_to_follow(
    tmp_path: Path, tiny_recipe: Callable[..., Recipe]
) -> None:
    recipe = tiny_recipe("augment.method=none", "train.epochs=1")
    folder = train(recipe, TrainOptions(run=tmp_path / "run", log=lambda _line: None))
    followed = followed_run(folder.path)
    assert followed is not None
    assert followed.policy.epochs() == ()


def test_run_that_has_not_begun_is_waited_for(tmp_path: Path) -> None:
    assert followed_run(tmp_path / "nowhere") is None


def test_unreadable_recipe_is_named(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("train = 3")
    with pytest.raises(RecipeError, match=r"recipe\.toml:1: train must be a section"):
        followed_run(tmp_path)
