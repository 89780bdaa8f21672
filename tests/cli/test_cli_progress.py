from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from cli.screen import screen

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_without_a_terminal_progress_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 10.0, 31.0, 31.0, 40.0])
    monkeypatch.setattr("cli.screen.time.monotonic", lambda: next(clock))
    with screen() as shown:
        show = shown.bars("images")
        show(1, 4)
        show(2, 4)
        show(3, 4)
    assert capsys.readouterr().err == "images: 2 of 4\n"


TALKING = """
import sys
from cli.screen import screen
with screen() as shown:
    bar = shown.bars("epoch 0")
    for done in range(4):
        bar(done, 4)
        shown.log(f"line {done} of [bold] and :smile:")
    shown.log("warning: " + "long " * 40 + "end")
"""


def _on_a_terminal(*words: str, **environment: str) -> str:
    """Run a Python program on a terminal of its own and return what that has shown."""
    ours, its = os.openpty()
    wanted = {"TERM": "xterm", "COLUMNS": "80"} | environment
    process = subprocess.Popen(
        [sys.executable, "-P", *words],
        stdin=its, stdout=its, stderr=its, env=os.environ | wanted,
    )  # fmt: skip
    os.close(its)
    parts: list[bytes] = []
    with contextlib.suppress(OSError):  # how Linux tells that nobody writes any more
        while part := os.read(ours, 4096):
            parts.append(part)
    os.close(ours)
    shown = b"".join(parts).decode()
    assert process.wait(60) == 0, shown
    return shown


REFRESHING = """
from cli.refresh_progress import EventLog, refresh_progress
from pipeline.refresh.progress import RefreshProgress
with refresh_progress(EventLog(None)) as show:
    show(RefreshProgress(rows_done=1, rows_found=0, rows_total=2, blocks_done=1, blocks_total=2,
        blocks_failed=0, workers=1, seconds=1.0, dashboard="http://x"))
    import time
    time.sleep(0.2)
"""
STYLE = re.compile("\x1b\\[([0-9;]*)m")
ESCAPE = re.compile("\x1b\\[[0-9;?]*[a-zA-Z]")


def test_lines_on_a_terminal_stand_above_the_bar_and_are_taken_literally() -> None:
    shown = _on_a_terminal("-c", TALKING)
    lines = [ESCAPE.sub("", line) for line in shown.replace("\r\n", "\n").split("\n")]
    for done in range(4):
        assert any(line.split("\r")[-1] == f"line {done} of [bold] and :smile:" for line in lines)
    assert any(line.split("\r")[-1].endswith("long end") for line in lines)
    assert "\x1b[1;33m" in shown  # warnings stand out


def test_lines_go_to_standard_output_where_that_is_no_terminal(tmp_path: Path) -> None:
    path = tmp_path / "out"
    shown = _on_a_terminal("-c", f"import sys; sys.stdout = open({str(path)!r}, 'w'){TALKING}")
    lines = path.read_text().splitlines()
    assert lines[:4] == [f"line {done} of [bold] and :smile:" for done in range(4)]
    assert len(lines) == 5
    assert "line 0" not in shown
    assert "epoch 0" in shown


def test_no_color_takes_the_colours_away_and_leaves_the_bar() -> None:
    shown = _on_a_terminal("-c", TALKING, NO_COLOR="1")
    styles = {number for style in STYLE.findall(shown) for number in style.split(";") if number}
    assert styles <= {"0", "1", "2"}, shown  # bold and dim are no colours
    assert "epoch 0" in shown


def test_a_terminal_that_can_only_print_gets_plain_lines() -> None:
    shown = _on_a_terminal("-c", TALKING, TERM="dumb")
    assert "\x1b" not in shown
    assert shown.splitlines()[:4] == [f"line {done} of [bold] and :smile:" for done in range(4)]
    assert "epoch 0" not in shown


def test_a_refresh_prints_lines_too_where_a_terminal_can_only_print() -> None:
    for term, escapes in (("xterm", True), ("dumb", False)):
        shown = _on_a_terminal("-c", REFRESHING, TERM=term)
        assert ("\x1b" in shown) is escapes
        assert ("1 of 2 images" in shown) is escapes
        assert "http://x" in shown
