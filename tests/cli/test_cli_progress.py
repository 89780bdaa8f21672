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


def _on_a_terminal(*words: str) -> str:
    """Run a Python program on a terminal of its own and return what that has shown."""
    ours, its = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-P", *words],
        stdin=its, stdout=its, stderr=its, env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
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
