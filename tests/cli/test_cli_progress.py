from __future__ import annotations

from typing import TYPE_CHECKING

from cli import commands

if TYPE_CHECKING:
    import pytest


def test_without_a_terminal_progress_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 10.0, 31.0, 31.0, 40.0])
    monkeypatch.setattr("cli.commands.time.monotonic", lambda: next(clock))
    with commands.progress_bars() as start:
        show = start("images")
        show(1, 4)
        show(2, 4)
        show(3, 4)
    assert capsys.readouterr().err == "images: 2 of 4\n"
