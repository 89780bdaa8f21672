"""A watcher follows a run to its end: what it publishes, keeps and refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from cache_store.errors import CacheMismatchError
from cache_store.store import SaliencyStore
from pipeline.errors import NetworkError, RefreshError, Stopped
from pipeline.refresh.policy import RefreshPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from loaders.image_data import ArrayData
    from tests.refresh.conftest import WatchedRun


def test_each_wanted_epoch_is_published_as_training_goes_on(run: WatchedRun) -> None:
    epochs = iter(range(8))

    def train() -> bool:  # an epoch each time that the watcher waits for something to do
        if run.idle() and (epoch := next(epochs, None)) is not None:
            run.save(epoch)
        return False

    run.watch(stop=train)
    assert list(run.published()) == [1, 3, 5]
    for number, epoch in enumerate((1, 3, 5)):
        undisturbed = run.digest(epoch, run.root / f"alone{number}")
        assert run.published()[epoch] == undisturbed
    beat = run.heartbeat()
    assert (beat["state"], beat["epoch_published"], beat["generation"]) == ("done", 5, 3)
    assert beat["refreshes"] == 3
    assert beat["error"] is None
    assert "epoch 2: no refresh: not a multiple of 2 epochs" in run.texts("checkpoint")
    assert sorted(path.name for path in (run.root / "watch").iterdir()) == ["heartbeat.json"]


def test_long_refreshes_tell_how_far_they_are(
    run: WatchedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.refresh.watch_refresh.PROGRESS_SECONDS", 0.0)
    run.save(5)
    run.watch()
    done = [fields["images"] for event, fields in run.events if event == "progress"]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 40)
    assert run.texts("refreshing") == ["epoch 5: making maps"]


def test_of_several_waiting_checkpoints_the_newest_wanted_one_is_taken(run: WatchedRun) -> None:
    run.save(0, 1, 2, 3, 4, 5, 6)
    run.watch()
    assert list(run.published()) == [5]
    assert run.texts("skipped") == [
        "epoch 1: skipped, superseded: epoch 5 is newer",
        "epoch 3: skipped, superseded: epoch 5 is newer",
    ]
    assert run.heartbeat()["skipped"]["superseded"] == 2


def test_waits_for_training_to_begin(run: WatchedRun) -> None:
    run.save(5)
    looks = iter([None, None, run.followed()])
    run.watch(lambda: next(looks))
    assert run.texts("waiting") == [f"waiting for training to begin in {run.root}"]
    assert list(run.published()) == [5]


def test_cache_for_other_data_is_refused_at_the_start(
    run: WatchedRun, toy_images: Callable[..., ArrayData]
) -> None:
    other = replace(run, data=toy_images(39), events=[])
    other.save(5)
    other.watch()
    with pytest.raises(CacheMismatchError, match="39 samples"):
        run.watch()


def test_run_that_never_refreshes_is_refused(run: WatchedRun) -> None:
    never = RefreshPolicy(num_epochs=8, interval=9, lam=lambda _epoch: 2.0)
    with pytest.raises(RefreshError, match="never refreshes in its 8 epochs, one each 9"):
        run.watch(lambda: replace(run.followed(), policy=never))


def test_unknown_network_is_refused_at_the_start(run: WatchedRun) -> None:
    followed = run.followed()
    network = replace(followed.network, name="resnet9")
    with pytest.raises(NetworkError, match="resnet9"):
        run.watch(lambda: replace(followed, network=network))
    assert run.heartbeat()["state"] == "failed"
    assert "resnet9" in run.heartbeat()["error"]


def test_retention_keeps_the_newest_and_counts_what_went(run: WatchedRun) -> None:
    epochs = iter(range(8))
    run.watch(stop=lambda: run.idle() and _next(run, epochs), keep=1, grace_seconds=0.0)
    assert SaliencyStore.open(run.cache).generations() == (3,)
    assert run.heartbeat()["removed"] == 2
    assert run.texts("collected")[0].startswith("removed generation 1, ")


def _next(run: WatchedRun, epochs: Any) -> bool:  # noqa: ANN401
    epoch = next(epochs, None)
    if epoch is not None:
        run.save(epoch)
    return False


def test_leased_generation_survives_retention(run: WatchedRun) -> None:
    run.save(3)
    with pytest.raises(Stopped):
        run.watch(stop=lambda: run.idle() and bool(run.texts("published")))
    with SaliencyStore.open(run.cache).lease(1, owner="a trainer"):
        run.save(5)
        run.watch(keep=1, grace_seconds=0.0)
    assert SaliencyStore.open(run.cache).generations() == (1, 2)
