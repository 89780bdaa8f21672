from __future__ import annotations

import errno
import json
import os
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from cache_store.errors import CacheMismatchError
from cache_store.local_backend import LocalBackend
from cache_store.store import SaliencyStore
from pipeline.errors import NetworkError, RefreshError, Stopped
from pipeline.refresh import watch as watch_module
from pipeline.refresh.policy import RefreshPolicy
from pipeline.refresh.watch_checkpoints import CheckpointFolder
from pipeline.refresh.watch_followed import Followed
from pipeline.refresh.watch_heartbeat import Heartbeat
from pipeline.refresh.watch_ledger import Ledger
from pipeline.refresh.watch_status import WatchStatus
from pipeline.saliency.networks import build_network

if TYPE_CHECKING:
    from collections.abc import Callable

    from loaders.image_data import ArrayData
    from tests.refresh.conftest import WatchedRun


def _generations(run: WatchedRun) -> dict[int | None, str]:
    """Return epoch -> digest of what is published."""
    store = SaliencyStore.open(run.cache)
    found = [store.generation(number) for number in store.generations()]
    assert len({one.provenance.epoch for one in found}) == len(found), "an epoch was made twice"
    return {one.provenance.epoch: one.digest for one in found}


def _heartbeat(run: WatchedRun) -> dict[str, Any]:
    beat: dict[str, Any] = json.loads((run.root / "watch" / "heartbeat.json").read_text())
    return beat


def test_each_wanted_epoch_is_published_as_training_goes_on(run: WatchedRun) -> None:
    epochs = iter(range(8))

    def train() -> bool:  # an epoch each time that the watcher waits for something to do
        if _idle(run) and (epoch := next(epochs, None)) is not None:
            run.save(epoch)
        return False

    run.watch(stop=train)
    assert list(_generations(run)) == [1, 3, 5]
    for number, epoch in enumerate((1, 3, 5)):
        undisturbed = run.digest(epoch, run.root / f"alone{number}")
        assert _generations(run)[epoch] == undisturbed
    beat = _heartbeat(run)
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


def _idle(run: WatchedRun) -> bool:
    try:
        return _heartbeat(run)["state"] == "waiting"
    except FileNotFoundError:
        return True


def test_of_several_waiting_checkpoints_the_newest_wanted_one_is_taken(run: WatchedRun) -> None:
    run.save(0, 1, 2, 3, 4, 5, 6)
    run.watch()
    assert list(_generations(run)) == [5]
    assert run.texts("skipped") == [
        "epoch 1: skipped, superseded: epoch 5 is newer",
        "epoch 3: skipped, superseded: epoch 5 is newer",
    ]
    assert _heartbeat(run)["skipped"]["superseded"] == 2


def test_waits_for_training_to_begin(run: WatchedRun) -> None:
    run.save(5)
    looks = iter([None, None, run.followed()])
    run.watch(lambda: next(looks))
    assert run.texts("waiting") == [f"waiting for training to begin in {run.root}"]
    assert list(_generations(run)) == [5]


def test_damaged_checkpoint_is_named_and_the_one_before_takes_its_place(run: WatchedRun) -> None:
    run.save(3, 5)
    run.checkpoint(5).write_bytes(run.checkpoint(5).read_bytes()[:1000])

    def train() -> bool:
        run.save(6)
        return False

    with pytest.raises(RefreshError, match="past epoch 5, the last one to refresh from"):
        run.watch(stop=train)
    assert list(_generations(run)) == [3]
    (told,) = run.texts("skipped")
    assert f"epoch 5: skipped, damaged: weights file '{run.checkpoint(5)}'" in told
    assert _heartbeat(run)["skipped"]["damaged"] == 1
    assert _heartbeat(run)["state"] == "failed"


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
    assert list(_generations(run)) == [3]
    (told,) = run.texts("skipped")
    assert "epoch 5: skipped, damaged: " in told
    assert "logits must be finite" in told
    assert run.texts("error") == []


def test_damaged_checkpoint_never_leads_back_before_what_is_published(run: WatchedRun) -> None:
    run.save(3)
    with pytest.raises(Stopped):
        run.watch(stop=lambda: _idle(run) and bool(run.texts("published")))
    run.save(1)
    run.checkpoint(3).write_bytes(b"rotten")
    SaliencyStore.open(run.cache)
    run.events.clear()
    with pytest.raises(Stopped):
        run.watch(stop=lambda: _idle(run) and bool(run.texts("skipped")))
    assert list(_generations(run)) == [3]


def test_checkpoint_that_is_being_written_is_taken_when_it_is_whole(run: WatchedRun) -> None:
    run.save(5)
    whole = run.checkpoint(5).read_bytes()
    run.checkpoint(5).write_bytes(whole[: len(whole) // 2])

    def finish() -> bool:
        if run.texts("doubtful"):
            run.checkpoint(5).write_bytes(whole)
        return False

    run.watch(stop=finish)
    assert list(_generations(run)) == [5]
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
    assert list(_generations(run)) == [3]
    assert run.texts("skipped")[0] == "epoch 5: skipped, vanished: removed before it could be read"


def test_trainer_may_remove_a_checkpoint_while_it_is_refreshed_from(
    run: WatchedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.refresh.watch_pulse.BEAT_SECONDS", 0.0)
    run.save(2, 3)

    def train() -> bool:
        if run.checkpoint(3).exists() and _heartbeat(run)["state"] == "refreshing":
            run.save(4, 5)
            run.checkpoint(3).unlink()
        elif run.checkpoint(5).exists() and (run.root / "watch" / "epoch-0005.pt").exists():
            run.save(6, 7)
            run.checkpoint(5).unlink()
        return False

    run.watch(stop=train)
    assert not run.checkpoint(3).exists()
    assert not run.checkpoint(5).exists()
    assert list(_generations(run)) == [3, 5]
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


def test_started_again_after_the_end_makes_nothing_anew(run: WatchedRun) -> None:
    run.save(5)
    run.watch()
    before = _generations(run)
    run.watch()
    run.checkpoint(5).unlink()
    run.save(6, 7)
    run.watch()
    assert _generations(run) == before
    assert SaliencyStore.open(run.cache).generations() == (1,)


def test_generation_made_before_the_latest_one_is_not_made_again(run: WatchedRun) -> None:
    run.save(3)
    with pytest.raises(Stopped):
        run.watch(stop=lambda: _idle(run) and bool(run.texts("published")))
    run.digest(0, run.root / "maps.zarr")  # somebody else publishes into this cache
    run.save(5)
    run.checkpoint(5).write_bytes(b"junk")
    with pytest.raises(Stopped):
        run.watch(stop=lambda: _idle(run) and len(run.texts("published")) == 2)
    assert SaliencyStore.open(run.cache).generations() == (1, 2)


class Killed(BaseException):
    """A SIGKILL as seen from inside: no handler of errors cleans up after it."""


@pytest.mark.parametrize(
    ("owner", "name", "moment"),
    [
        (CheckpointFolder, "pin", "before"),
        (CheckpointFolder, "pin", "after"),
        (watch_module, "refresh_from", "before"),
        (watch_module, "refresh_from", "after"),
        (Ledger, "publish", "after"),
        (CheckpointFolder, "unpin", "before"),
        (watch_module, "describe", "before"),
        (watch_module, "collect_old", "after"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_killed_anywhere_and_started_again_publishes_once(
    run: WatchedRun,
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    moment: str,
) -> None:
    real = getattr(owner, name)

    def dies(*args: Any, **keywords: Any) -> None:  # noqa: ANN401
        if moment == "after":
            real(*args, **keywords)
        raise Killed

    run.save(5)
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, dies)
        with pytest.raises(Killed):
            run.watch()
    if (name, moment) != ("pin", "before"):  # from here on the trainer may remove it
        run.checkpoint(5).unlink()
    run.save(6)
    run.watch()
    assert SaliencyStore.open(run.cache).generations() == (1,)
    assert _generations(run)[5] == run.digest(5, run.root / "alone")


def test_killed_between_blocks_and_started_again_does_the_rest(run: WatchedRun) -> None:
    asked = iter(range(100))

    def killed() -> bool:
        if _heartbeat(run)["state"] == "refreshing" and next(asked) == 3:
            raise Killed
        return False

    run.save(5)
    with pytest.raises(Killed):
        run.watch(stop=killed)
    assert SaliencyStore.open(run.cache).generations() == ()
    run.watch()
    (published,) = [fields for event, fields in run.events if event == "published"]
    assert 0 < published["rows_found"] < 40
    assert _generations(run) == {5: run.digest(5, run.root / "alone")}


def test_full_disk_shows_in_the_heartbeat_and_is_tried_again(
    run: WatchedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.save(5)
    write = LocalBackend._write_partial
    seen: list[dict[str, Any]] = []
    full = iter([True] * 6)

    def limited(self: LocalBackend, path: Path, data: bytes) -> Path:
        if "generations" in str(path) and next(full, False):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, path, data)

    def look() -> bool:
        beat = _heartbeat(run)
        if beat["state"] == "backing off":
            seen.append(beat)
        return False

    monkeypatch.setattr(LocalBackend, "_write_partial", limited)
    run.watch(stop=look)
    assert list(_generations(run)) == [5]
    assert "No space left on device" in seen[0]["error"]
    assert seen[0]["failures"] == 1
    assert _heartbeat(run)["failures"] == 0
    assert _heartbeat(run)["error"] is None
    waits = [text.split(" s:")[0] for text in run.texts("error")]
    assert waits[:2] == ["failed, trying again in 0.01", "failed, trying again in 0.02"]


def test_heartbeat_that_can_not_be_written_stops_nothing(run: WatchedRun) -> None:
    run.save(5)
    (run.root / "watch").mkdir()
    (run.root / "watch" / "heartbeat.json").mkdir()
    run.watch()
    assert list(_generations(run)) == [5]
    (told,) = run.texts("heartbeat_failed")
    assert "can't write heartbeat" in told


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
    assert _heartbeat(run)["state"] == "failed"
    assert "resnet9" in _heartbeat(run)["error"]


def test_retention_keeps_the_newest_and_counts_what_went(run: WatchedRun) -> None:
    epochs = iter(range(8))
    run.watch(stop=lambda: _idle(run) and _next(run, epochs), keep=1, grace_seconds=0.0)
    assert SaliencyStore.open(run.cache).generations() == (3,)
    assert _heartbeat(run)["removed"] == 2
    assert run.texts("collected")[0].startswith("removed generation 1, ")


def _next(run: WatchedRun, epochs: Any) -> bool:  # noqa: ANN401
    epoch = next(epochs, None)
    if epoch is not None:
        run.save(epoch)
    return False


def test_leased_generation_survives_retention(run: WatchedRun) -> None:
    run.save(3)
    with pytest.raises(Stopped):
        run.watch(stop=lambda: _idle(run) and bool(run.texts("published")))
    with SaliencyStore.open(run.cache).lease(1, owner="a trainer"):
        run.save(5)
        run.watch(keep=1, grace_seconds=0.0)
    assert SaliencyStore.open(run.cache).generations() == (1, 2)


def _other_watcher(run: WatchedRun, host: str, pid: int, beats: int) -> None:
    path = run.root / "watch" / "heartbeat.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {"instance": "x", "state": "waiting", "host": host, "pid": pid, "beats": beats}
    path.write_text(json.dumps(fields))


def test_second_watcher_of_a_run_stands_by_until_the_first_has_ended(run: WatchedRun) -> None:
    run.save(5)
    _other_watcher(run, "elsewhere", 17, 0)
    beats = iter(range(1, 8))

    def other_works() -> bool:
        if run.texts("following"):
            return False
        assert not Path(run.cache).exists()
        beat = next(beats, None)
        if beat is not None:
            _other_watcher(run, "elsewhere", 17, beat)
        else:
            path = run.root / "watch" / "heartbeat.json"
            path.write_text(path.read_text().replace('"waiting"', '"stopped"'))
        return False

    run.watch(stop=other_works, takeover_seconds=2.0)
    assert run.texts("standby") == [
        f"another watcher follows {run.root} (process 17 on elsewhere): standing by"
    ]
    assert run.texts("takeover") == []
    assert list(_generations(run)) == [5]


def test_second_watcher_takes_over_when_the_heartbeat_stands_still(run: WatchedRun) -> None:
    run.save(5)
    _other_watcher(run, "elsewhere", 17, 4)
    run.watch(takeover_seconds=0.3)
    assert run.texts("takeover") == ["its heartbeat stands still for 0.3 s: taking over"]
    assert list(_generations(run)) == [5]


def test_heartbeat_of_a_killed_process_of_this_host_is_not_waited_for(run: WatchedRun) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    run.save(5)
    _other_watcher(run, socket.gethostname(), child, 4)
    run.watch()
    assert run.texts("standby") == []


def test_stop_while_standing_by_leaves_the_others_heartbeat(run: WatchedRun) -> None:
    _other_watcher(run, "elsewhere", 17, 4)
    with pytest.raises(Stopped):
        run.watch(stop=lambda: True)
    assert _heartbeat(run)["instance"] == "x"


def test_two_watchers_at_work_on_one_cache_publish_once(run: WatchedRun) -> None:
    run.save(5)
    second = replace(run, events=[])
    together = threading.Barrier(2, timeout=30)
    errors: list[BaseException] = []

    def work(one: WatchedRun, state: str) -> None:
        def follow() -> Followed:
            together.wait()
            return one.followed()

        try:
            one.watch(follow, state=one.root / state)
        except BaseException as error:  # noqa: BLE001  # a thread has nobody to raise to
            errors.append(error)

    threads = [
        threading.Thread(target=work, args=(one, state))
        for one, state in ((run, "watch"), (second, "watch-too"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert SaliencyStore.open(run.cache).generations() == (1,)
    assert _generations(run)[5] == run.digest(5, run.root / "alone")


def test_heartbeat_is_whole_at_any_time(run: WatchedRun) -> None:
    path = run.root / "watch" / "heartbeat.json"
    beat = Heartbeat(path, WatchStatus(run="r", cache="c"), pytest.fail)
    beat.write()
    done = threading.Event()
    read: list[int] = []

    def reader() -> None:
        while not done.is_set():
            read.append(json.loads(path.read_text())["beats"])

    thread = threading.Thread(target=reader)
    thread.start()
    for _ in range(200):
        beat.write()
    done.set()
    thread.join()
    assert read == sorted(read)
    assert [one.name for one in path.parent.iterdir()] == ["heartbeat.json"]
