"""`scae preview` ends in one line and an exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli.preview import preview_command

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        pytest.param(
            ("--rows", "1,x"), 2, "whole numbers with commas between them, got", id="rows"
        ),
        pytest.param(("--lambda", "1,,2"), 2, "numbers with commas between them, got", id="lambda"),
        pytest.param(("--num", "0"), 2, "0 is not in the range", id="num"),
        pytest.param(("--num", "99"), 1, "Error: num of a preview must be in", id="too-many"),
        pytest.param((), 1, "Error: no cache at", id="no-cache"),
    ],
)
def test_preview_command_ends_in_one_line_and_an_exit_code(
    tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "data" / name / "0.png")
    places = ["--data", str(tmp_path / "data"), "--cache", str(tmp_path / "maps.zarr")]
    out = tmp_path / "grid.png"
    result = CliRunner().invoke(preview_command, [*places, *words, "--out", str(out)])
    assert result.exit_code == code
    assert message in result.output.splitlines()[-1]
    assert isinstance(result.exception, SystemExit)
    assert not out.exists()


def test_preview_command_shows_its_examples_line_by_line() -> None:
    result = CliRunner().invoke(preview_command, ["--help"])
    assert "\n    scae preview --data shapes --cache maps.zarr --out maps.png\n" in result.output
