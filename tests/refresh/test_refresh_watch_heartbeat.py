"""Watchers of one run tell each other by a heartbeat who is at work."""

from __future__ import annotations

import json
import os
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cache_store.store import SaliencyStore
from pipeline.errors import Stopped
from pipeline.refresh.watch_followed import Followed
from pipeline.refresh.watch_heartbeat import Heartbeat
from pipeline.refresh.watch_status import WatchStatus

if TYPE_CHECKING:
    from tests.refresh.conftest import WatchedRun


def test_heartbeat_that_can_not_be_written_stops_nothing(run: WatchedRun) -> None:
    run.save(5)
    (run.root / "watch").mkdir()
    (run.root / "watch" / "heartbeat.json").mkdir()
    run.watch()
    assert list(run.published()) == [5]
    (told,) = run.texts("heartbeat_failed")
    assert "can't write heartbeat" in told


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
    assert list(run.published()) == [5]


def test_second_watcher_takes_over_when_the_heartbeat_stands_still(run: WatchedRun) -> None:
    run.save(5)
    _other_watcher(run, "elsewhere", 17, 4)
    run.watch(takeover_seconds=0.3)
    assert run.texts("takeover") == ["its heartbeat stands still for 0.3 s: taking over"]
    assert list(run.published()) == [5]


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
    assert run.heartbeat()["instance"] == "x"


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
    assert run.published()[5] == run.digest(5, run.root / "alone")


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
