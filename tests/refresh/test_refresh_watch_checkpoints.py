"""Checkpoints that a watcher can't take as they are: damaged, unfinished, gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from cache_store.store import SaliencyStore
from pipeline.errors import RefreshError, Stopped
from pipeline.refresh.watch_checkpoints import CheckpointFolder
from pipeline.saliency.networks import build_network

if TYPE_CHECKING:
    from tests.refresh.conftest import WatchedRun


def test_damaged_checkpoint_is_named_and_the_one_before_takes_its_place(run: WatchedRun) -> None:
    run.save(3, 5)
    run.checkpoint(5).write_bytes(run.checkpoint(5).read_bytes()[:1000])

    def train() -> bool:
        run.save(6)
        return False

    with pytest.raises(RefreshError, match="past epoch 5, the last one to refresh from"):
        run.watch(stop=train)
    assert list(run.published()) == [3]
    (told,) = run.texts("skipped")
    assert f"epoch 5: skipped, damaged: weights file '{run.checkpoint(5)}'" in told
    assert run.heartbeat()["skipped"]["damaged"] == 1
    assert run.heartbeat()["state"] == "failed"


def test_diverged_checkpoint_is_skipped_by_name_and_the_one_before_takes_its_place(
    run: WatchedRun,
) -> None:
    run.save(3)
    state = torch.load(run.checkpoint(3), weights_only=True)
    for weights in state["model"].values():
        if weights.is_floating_point():
            weights.fill_(float("nan"))
    torch.save(state, run.checkpoint(5))

    def train() -> bool:
        run.save(6)
        return False

    with pytest.raises(RefreshError, match="past epoch 5, the last one to refresh from"):
        run.watch(stop=train)
    assert list(run.published()) == [3]
    (told,) = run.texts("skipped")
    assert "epoch 5: skipped, damaged: " in told
    assert "logits must be finite" in told
    assert run.texts("error") == []


def test_damaged_checkpoint_never_leads_back_before_what_is_published(run: WatchedRun) -> None:
    run.save(3)
    with pytest.raises(Stopped):
        run.watch(stop=lambda: run.idle() and bool(run.texts("published")))
    run.save(1)
    run.checkpoint(3).write_bytes(b"rotten")
    SaliencyStore.open(run.cache)
    run.events.clear()
    with pytest.raises(Stopped):
        run.watch(stop=lambda: run.idle() and bool(run.texts("skipped")))
    assert list(run.published()) == [3]


def test_checkpoint_that_is_being_written_is_taken_when_it_is_whole(run: WatchedRun) -> None:
    run.save(5)
    whole = run.checkpoint(5).read_bytes()
    run.checkpoint(5).write_bytes(whole[: len(whole) // 2])

    def finish() -> bool:
        if run.texts("doubtful"):
            run.checkpoint(5).write_bytes(whole)
        return False

    run.watch(stop=finish)
    assert list(run.published()) == [5]
    assert run.texts("skipped") == []


def test_weights_of_another_network_are_skipped_by_name(run: WatchedRun) -> None:
    run.folder.mkdir(parents=True)
    torch.save(build_network("resnet8", num_classes=7).module.state_dict(), run.checkpoint(5))
    with pytest.raises(Stopped):
        run.watch(stop=lambda: bool(run.texts("skipped")))
    (told,) = run.texts("skipped")
    assert "must be for 4 classes, got 7" in told


def test_checkpoint_removed_between_seeing_and_reading_is_passed_over(
    run: WatchedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.save(3, 5)
    pin = CheckpointFolder.pin

    def late(self: CheckpointFolder, checkpoint: Any) -> Any:  # noqa: ANN401
        if checkpoint.epoch == 5:
            checkpoint.path.unlink(missing_ok=True)
        return pin(self, checkpoint)

    monkeypatch.setattr(CheckpointFolder, "pin", late)
    with pytest.raises(Stopped):
        run.watch(stop=lambda: bool(run.texts("published")))
    assert list(run.published()) == [3]
    assert run.texts("skipped")[0] == "epoch 5: skipped, vanished: removed before it could be read"


def test_trainer_may_remove_a_checkpoint_while_it_is_refreshed_from(
    run: WatchedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.refresh.watch_pulse.BEAT_SECONDS", 0.0)
    run.save(2, 3)

    def train() -> bool:
        if run.checkpoint(3).exists() and run.heartbeat()["state"] == "refreshing":
            run.save(4, 5)
            run.checkpoint(3).unlink()
        elif run.checkpoint(5).exists() and (run.root / "watch" / "epoch-0005.pt").exists():
            run.save(6, 7)
            run.checkpoint(5).unlink()
        return False

    run.watch(stop=train)
    assert not run.checkpoint(3).exists()
    assert not run.checkpoint(5).exists()
    assert list(run.published()) == [3, 5]
    assert not list((run.root / "watch").glob("epoch*"))


def test_checkpoints_that_came_and_went_unseen_are_counted(run: WatchedRun) -> None:
    run.save(0)

    def train() -> bool:
        if run.texts("checkpoint"):
            run.save(4, 5)
        return False

    run.watch(stop=train)
    assert run.texts("skipped") == [
        f"epoch {epoch}: skipped, missed: its checkpoint came and went between two looks"
        for epoch in (1, 3)
    ]


def test_pin_of_an_earlier_training_in_the_folder_is_not_used(run: WatchedRun) -> None:
    run.save(5)
    pins = CheckpointFolder(run.folder, run.root / "watch")
    assert pins.pin(pins.there()[5]) is not None
    run.checkpoint(5).unlink()
    run.save(0)
    assert list(pins.there()) == [0]
    run.save(6)
    assert sorted(pins.there()) == [0, 5, 6]
