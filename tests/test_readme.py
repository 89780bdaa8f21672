"""What the README prints must work as printed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cli.main import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
SHELL_LINES = [
    line for language, text in BLOCKS if language == "sh" for line in text.splitlines() if line
]


def test_python_example_runs_as_printed(tmp_path: Path) -> None:
    (example,) = [text for language, text in BLOCKS if language == "python"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", example],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split("generation ")[1] for line in lines] == ["0", "1", "1", "2", "2", "3"]
    assert (tmp_path / "maps.zarr" / "zarr.json").is_file()


@pytest.mark.parametrize("line", [line for line in SHELL_LINES if line.startswith("scae")])
def test_every_command_line_is_accepted(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"no command {name}"
        command = found
    # Parsing checks every option and value, and runs nothing.
    command.make_context(command.name, words)


@pytest.mark.parametrize("line", [line for line in SHELL_LINES if line.startswith("make")])
def test_every_make_target_is_there(line: str) -> None:
    target = shlex.split(line, comments=True)[1]
    assert f"\n{target}:" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_every_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).is_file()
