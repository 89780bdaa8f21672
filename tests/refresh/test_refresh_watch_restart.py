"""A watcher that was killed, or could not write, publishes each epoch once all the same."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cache_store.local_backend import LocalBackend
from cache_store.store import SaliencyStore
from pipeline.errors import Stopped
from pipeline.refresh import watch as watch_module
from pipeline.refresh.watch_checkpoints import CheckpointFolder
from pipeline.refresh.watch_ledger import Ledger

if TYPE_CHECKING:
    from tests.refresh.conftest import WatchedRun


def test_started_again_after_the_end_makes_nothing_anew(run: WatchedRun) -> None:
    run.save(5)
    run.watch()
    before = run.published()
    run.watch()
    run.checkpoint(5).unlink()
    run.save(6, 7)
    run.watch()
    assert run.published() == before
    assert SaliencyStore.open(run.cache).generations() == (1,)


def test_generation_made_before_the_latest_one_is_not_made_again(run: WatchedRun) -> None:
    run.save(3)
    with pytest.raises(Stopped):
        run.watch(stop=lambda: run.idle() and bool(run.texts("published")))
    run.digest(0, run.root / "maps.zarr")  # somebody else publishes into this cache
    run.save(5)
    run.checkpoint(5).write_bytes(b"junk")
    with pytest.raises(Stopped):
        run.watch(stop=lambda: run.idle() and len(run.texts("published")) == 2)
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
    assert run.published()[5] == run.digest(5, run.root / "alone")


def test_killed_between_blocks_and_started_again_does_the_rest(run: WatchedRun) -> None:
    asked = iter(range(100))

    def killed() -> bool:
        if run.heartbeat()["state"] == "refreshing" and next(asked) == 3:
            raise Killed
        return False

    run.save(5)
    with pytest.raises(Killed):
        run.watch(stop=killed)
    assert SaliencyStore.open(run.cache).generations() == ()
    run.watch()
    (published,) = [fields for event, fields in run.events if event == "published"]
    assert 0 < published["rows_found"] < 40
    assert run.published() == {5: run.digest(5, run.root / "alone")}


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
        beat = run.heartbeat()
        if beat["state"] == "backing off":
            seen.append(beat)
        return False

    monkeypatch.setattr(LocalBackend, "_write_partial", limited)
    run.watch(stop=look)
    assert list(run.published()) == [5]
    assert "No space left on device" in seen[0]["error"]
    assert seen[0]["failures"] == 1
    assert run.heartbeat()["failures"] == 0
    assert run.heartbeat()["error"] is None
    waits = [text.split(" s:")[0] for text in run.texts("error")]
    assert waits[:2] == ["failed, trying again in 0.01", "failed, trying again in 0.02"]
