"""What a run tells: each listener, kills in the middle of a line, warnings, resumed epochs."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Stopped, TrainingError
from pipeline.refresh.event_line import event_line
from pipeline.training.run_events import run_sinks
from pipeline.training.run_folder import RunFolder
from pipeline.training.run_log import JsonLines, Lines, RunLog, telling
from pipeline.training.trainer import TrainOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.training.recipe import Recipe

    MakeRecipe = Callable[..., Recipe]


def _events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _words(path: Path) -> list[str]:
    return [event["event"] for event in _events(path)]


def test_a_run_tells_its_begin_epochs_refreshes_and_end(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    lines: list[str] = []
    recipe = tiny_recipe("train.epochs=3", "refresh.interval=1")
    folder = train(recipe, TrainOptions(run=tmp_path / "run", log=lines.append))
    events = _events(folder.log_path)
    told = [event for event in events if event["event"] not in ("message", "result")]
    assert [event["event"] for event in told] == [
        "start", "epoch", "refresh", "epoch", "refresh", "epoch", "end",
    ]  # fmt: skip
    start, *_, end = told
    assert start["recipe_digest"] == recipe.digest()
    assert {"python", "torch", "scae"} <= set(start["versions"])
    assert [event["epoch"] for event in told[1:-1]] == [0, 0, 1, 1, 2]
    assert end["overhead"] == json.loads(folder.summary_path.read_text())["overhead"]
    assert "per_class" not in end
    assert [event["text"] for event in events if "text" in event] == lines
    epoch = next(line for line in lines if line.startswith("epoch 0"))
    assert re.search(r"\d+ images/s  wait \d+\.\d%  scae \d+\.\d\d%$", epoch)


def test_resumed_epochs_can_be_told_by_the_last_line_of_each(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    recipe, run = tiny_recipe(), tmp_path / "run"
    calls = iter(range(10_000))
    with pytest.raises(Stopped):
        train(recipe, _quiet(run, stop=lambda: next(calls) == 8))
    folder = train(recipe, _quiet(run, resume=True))
    words = _words(folder.log_path)
    assert words[0] == "start"
    assert words.count("resume") == 1
    assert words.index("stopped") < words.index("resume")
    resumed = _events(folder.log_path)[words.index("resume")]
    by_epoch = {e["epoch"]: e for e in _events(folder.log_path) if e["event"] == "epoch"}
    assert sorted(by_epoch) == [0, 1, 2, 3]
    assert resumed["epoch"] == 2
    assert words[-1] == "end"


def _quiet(run: Path, **options: Any) -> TrainOptions:  # noqa: ANN401
    return TrainOptions(run=run, log=lambda _line: None, **options)


TORN = b'{"time": "2026-01-01T00:00:00.000+00:00", "event": "epo'


@pytest.mark.parametrize("torn", [b"", b"{", TORN, TORN + b'ch"}', b"\xff\x00"])
def test_a_torn_line_is_cut_off_and_the_next_one_is_whole(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(event_line("start", {}).encode() + torn)
    log = JsonLines(path)
    log.write("epoch", "", {"epoch": 1})
    log.close()
    assert _words(path) == ["start", "epoch"]


def test_a_log_that_was_nothing_but_a_torn_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(TORN)
    log = JsonLines(path)
    log.write("start", "", {})
    log.close()
    assert _words(path) == ["start"]


@given(st.dictionaries(st.text(), st.floats() | st.text() | st.none() | st.lists(st.floats())))
def test_events_are_one_line_of_strict_json(fields: dict[str, Any]) -> None:
    fields = {key: value for key, value in fields.items() if key not in ("time", "event")}
    line = event_line("epoch", fields)
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1

    def refused(word: str) -> float:
        raise AssertionError(word)

    read = json.loads(line, parse_constant=refused)
    assert read["event"] == "epoch"
    for name, value in fields.items():
        finite = value if not isinstance(value, float) or abs(value) < float("inf") else None
        assert isinstance(value, list) or read[name] == finite


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.training.run_log import JsonLines
log = JsonLines(Path(sys.argv[1]))
for number in range(1000000):
    log.write("epoch", "", {"epoch": number, "filler": "x" * 3000})
    if number == 50:
        print("begun", flush=True)
"""


def test_a_kill_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", KILLED, str(path)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        process.kill()
        process.communicate()
    JsonLines(path).close()
    assert [e["epoch"] for e in _events(path)].count(0) == 3


class Full:
    """A disk that is full after a while."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.closed = False

    def write(self, event: str, text: str, fields: object) -> None:
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        self.closed = True

    def __str__(self) -> str:
        return "log.jsonl"


def test_a_log_that_cant_be_written_is_named_once_and_the_run_goes_on() -> None:
    lines: list[str] = []
    log = RunLog(Full(1), Lines(lines.append))
    for number in range(4):
        log(f"line {number}")
    assert [line for line in lines if "warning" not in line] == [f"line {n}" for n in range(4)]
    assert [line for line in lines if "warning" in line] == [
        "warning: can't write log.jsonl (No space left on device): the run goes on without it; "
        "make room, and stop and --resume to have it again"
    ]


def test_a_line_that_the_disk_takes_in_part_counts_as_not_written(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "log.jsonl")
    log._file.close()
    log._file = _Half()  # type: ignore[assignment]
    with pytest.raises(OSError, match="a part of a line"):
        log.write("epoch", "", {})


class _Half:
    def write(self, data: bytes) -> int:
        return len(data) // 2


def test_warnings_of_the_package_are_lines_and_events(tmp_path: Path) -> None:
    lines: list[str] = []
    folder = RunFolder(tmp_path)
    with telling(RunLog(*run_sinks(folder, lines.append, tensorboard=False))):
        logging.getLogger("scae").warning("maps of %d images are stale", 3)
        logging.getLogger("scae").info("not told")
    assert lines == ["warning: maps of 3 images are stale"]
    assert _words(folder.log_path) == ["warning"]
    logging.getLogger("scae").warning("after the run")
    assert len(lines) == 1


def test_how_a_run_ended_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with pytest.raises(Stopped), telling(RunLog(JsonLines(path))):
        raise Stopped("stopped in epoch 3")
    with pytest.raises(KeyError), telling(RunLog(JsonLines(path))):
        raise KeyError("x")
    stopped, failed = _events(path)
    assert (stopped["event"], stopped["message"]) == ("stopped", "stopped in epoch 3")
    assert (failed["event"], failed["kind"]) == ("failed", "KeyError")


def test_without_listeners_nothing_is_written(tmp_path: Path) -> None:
    with telling(RunLog()) as log:
        log("line")
        log.tell("epoch", epoch=0)
        logging.getLogger("scae").warning("for the first rank to say")
    assert not list(tmp_path.iterdir())


def test_a_run_folder_that_holds_a_run_gets_no_line_of_a_refused_one(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    folder = train(tiny_recipe("train.epochs=1"), _quiet(tmp_path / "run"))
    before = folder.log_path.read_bytes()
    with pytest.raises(ValueError, match="holds a run already"):
        train(tiny_recipe("train.epochs=1"), _quiet(tmp_path / "run"))
    assert folder.log_path.read_bytes() == before


def test_a_log_that_cant_be_opened_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(TrainingError, match=r"can't write log .*log\.jsonl: Is a directory"):
        run_sinks(RunFolder(tmp_path), print, tensorboard=False)


def test_tensorboard_shows_each_epoch_once_also_after_a_kill(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe, run = tiny_recipe(), tmp_path / "run"
    calls = iter(range(10_000))
    with pytest.raises(Stopped):
        train(recipe, _quiet(run, tensorboard=True, stop=lambda: next(calls) == 8))
    folder = train(recipe, _quiet(run, resume=True, tensorboard=True))
    shown = EventAccumulator(str(folder.tensor_board)).Reload()
    by_epoch = {e["epoch"]: e for e in _events(folder.log_path) if e["event"] == "epoch"}
    for tag, name in (("loss/train_loss", "train_loss"), ("time/share_wait", "share_wait")):
        points = shown.Scalars(tag)
        assert [point.step for point in points] == [0, 1, 2, 3]
        values = [by_epoch[epoch][name] for epoch in range(4)]
        assert [point.value for point in points] == pytest.approx(values)
    refreshes = shown.Scalars("time/seconds_refresh")
    assert [point.step for point in refreshes] == [1]
    assert refreshes[0].value > 0


def test_tensorboard_that_is_missing_is_told_with_the_cure(
    tmp_path: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match=r"pip install scae\[tensorboard\]"):
        train(tiny_recipe(), _quiet(tmp_path / "run", tensorboard=True))
