"""`scae preview` ends in one line and an exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli.preview import preview_command
from tests.html_page import ParsedPage

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        pytest.param(
            ("--rows", "1,x"), 2, "whole numbers with commas between them, got", id="rows"
        ),
        pytest.param(("--lambda", "1,,2"), 2, "numbers with commas between them, got", id="lambda"),
        pytest.param(("--id", "7"), 2, "must be 16 hexadecimal digits, got '7'", id="id"),
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


RECIPE = """
name = "few"
[data]
name = "shapes"
classes = 2
[train]
epochs = 2
batch_size = 8
"""


def test_loader_preview_draws_the_batch_that_training_sees(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    out = tmp_path / "batch.png"
    words = ["--loader", str(tmp_path / "recipe.toml"), "--cache", str(tmp_path / "maps.zarr")]
    words += ["--generation", "0", "--epoch", "1", "--step", "2", "--out", str(out)]
    result = CliRunner().invoke(preview_command, words)
    assert result.output.splitlines()[-1] == (
        f"{out}: 8 of 8 samples of few: epoch 1, step 2, seed 0, generation none"
    )
    with Image.open(out) as picture:
        assert picture.width == 1160
    seen = out.read_bytes()
    CliRunner().invoke(preview_command, words)
    assert out.read_bytes() == seen
    page = tmp_path / "batch.html"
    CliRunner().invoke(preview_command, [*words[:-1], str(page)])
    parsed = ParsedPage(page.read_text())
    assert parsed.needs_nothing_else()
    assert len(parsed.addresses) == 8
    assert parsed.text.count("erased, no map") == len(parsed.rectangles)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        pytest.param(("--epoch", "2"), 1, "Error: epoch must be in [0, 2), got 2", id="epoch"),
        pytest.param(("--step", "999"), 1, "Error: step of a loader's preview must", id="step"),
        pytest.param(("--num", "65"), 1, "Error: num of a loader's preview must be", id="num"),
        pytest.param(("--data", "shapes"), 2, "leave --data, --rows, --id", id="data"),
        pytest.param(("--generation", "1"), 2, "one --generation at most", id="two-generations"),
    ],
)
def test_loader_preview_refuses_what_is_not_there(
    tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    places = ["--loader", str(tmp_path / "recipe.toml"), "--cache", str(tmp_path / "maps.zarr")]
    out = ["--out", str(tmp_path / "batch.png"), "--generation", "0"]
    result = CliRunner().invoke(preview_command, [*places, *out, *words])
    assert result.exit_code == code
    assert message in result.output.splitlines()[-1]
