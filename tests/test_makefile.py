"""The Makefile: what each target would run, its list, and what it says of a missing variable.

Nothing is installed here: commands are printed (`-n`) or run with a stand-in for scae.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from cli.main import main

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text()
# As if the environment were there: make must neither make it nor look at its age.
INSTALLED = ("-o", ".venv/.installed")
EXAMPLES = [line[3:] for line in MAKEFILE.splitlines() if line.startswith("#: ")]
TARGETS = re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE)


def _make(*words: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    # `make test` hands its own flags and variables down, which are none of these.
    outer = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *words],
        cwd=cwd,
        env={**outer, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def _commands(*words: str, **environment: str) -> list[list[str]]:
    """Return the words of the commands that make would run."""
    done = _make("-n", *INSTALLED, *words, cwd=ROOT, **environment)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.replace("\\\n", " ").splitlines()]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with the Makefile, and a stand-in for scae that notes its words."""
    folder = tmp_path / "a check out"
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    (folder / ".venv" / ".installed").touch()
    scae = programs / "scae"
    scae.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >>words\nexit "${CODE:-0}"\n')
    scae.chmod(0o755)
    return folder


def test_train_without_variables_runs_the_main_job_and_goes_on_with_it() -> None:
    assert _commands("train") == [
        [
            ".venv/bin/scae", "train",
            "--recipe", "recipes/shapes.toml", "--run", "runs/shapes", "--resume",
        ]
    ]  # fmt: skip


def test_test_without_variables_runs_all_but_the_long_and_the_gpu_ones() -> None:
    assert _commands("test") == [
        [
            ".venv/bin/python", "-P", "-m", "pytest", "-m", "not torture and not gpu",
            "-n", "2", "--dist", "loadfile",
        ]
    ]  # fmt: skip


def test_help_lists_every_target_with_an_example_that_make_takes() -> None:
    lines = _make("help").stdout.splitlines()
    assert re.findall(r"^make ([a-z-]+) +\S", "\n".join(lines), re.MULTILINE) == TARGETS
    for target in TARGETS:
        (at,) = [i for i, line in enumerate(lines) if line.startswith(f"make {target} ")]
        assert lines[at + 1].strip().split()[:2] == ["make", target]
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE.replace("\\\n", " "), re.MULTILINE)
    assert sorted(phony.split()) == sorted(TARGETS)


def test_make_alone_prints_the_list() -> None:
    assert _make().stdout == _make("help").stdout


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_command_that_scae_takes(example: str) -> None:
    commands = _commands(*shlex.split(example)[1:])
    assert commands
    for program, *words in commands:
        if program.endswith("scae"):
            _parse(words)


def _parse(words: list[str]) -> None:
    """Look the command up and parse its options, whether or not files are there; run nothing."""
    command: click.Command | None = main
    context = click.Context(main)
    while isinstance(command, click.Group):
        name, *words = words
        command = command.get_command(context, name)
    assert command is not None
    command.make_parser(click.Context(command)).parse_args(words)


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ("refresh", "DATA CACHE NETWORK WEIGHTS"),
        ("refresh DATA=shapes CACHE=c", "NETWORK WEIGHTS"),
        ("watch", "RUN"),
        ("report RUN=runs/a", "OUT"),
        ("preview CACHE=c", "DATA"),
        ("train DATA=photos", "RECIPE"),
    ],
)
def test_missing_variable_is_named_in_one_line_with_an_example_before_anything_is_installed(
    words: str, missing: str, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    done = _make(*words.split(), cwd=tmp_path)
    target = words.split()[0]
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert f"make {target} needs {missing}, as in: make {target} " in line
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]


@pytest.mark.parametrize("target", ["train", "refresh", "watch", "report", "preview", "bench"])
def test_names_with_blanks_and_quotes_reach_scae_as_they_are(target: str, checkout: Path) -> None:
    odd = """my  "photos" & 'more'; #1"""
    names = ("DATA", "CACHE", "NETWORK", "WEIGHTS", "RECIPE", "RUN", "OUT")
    done = _make(target, *(f"{name}={odd} {name}" for name in names), cwd=checkout)
    assert done.returncode == 0, done.stderr
    words = (checkout / "words").read_text().splitlines()
    # Each value follows its option, but for RUN where it is the argument itself.
    expected = {
        "train": ["RECIPE", "RUN", "DATA", "CACHE"],
        "refresh": ["DATA", "CACHE", "NETWORK", "WEIGHTS"],
        "watch": ["RUN", "CACHE"],
        "report": ["RUN", "OUT"],
        "preview": ["DATA", "CACHE", "OUT"],
        "bench": ["DATA"],
    }
    assert [word for word in words if "photos" in word] == [
        f"{odd} {name}" for name in expected[target]
    ]


def test_home_is_found_where_the_shell_has_left_it_to_us(checkout: Path) -> None:
    done = _make("watch", "RUN=~/my runs/~/a", cwd=checkout, HOME="/home/some one")
    assert done.returncode == 0, done.stderr
    assert (checkout / "words").read_text() == "watch\n/home/some one/my runs/~/a\n"


def test_run_folder_is_named_after_the_recipe() -> None:
    (words,) = _commands("train", "RECIPE=recipes/table1_scae.toml")
    assert words[words.index("--run") + 1] == "runs/table1_scae"


def test_variables_of_the_environment_change_nothing() -> None:
    taken = {"DATA": "/scratch", "CACHE": "c", "RUN": "r", "RECIPE": "x.toml", "ARGS": "--debug"}
    assert _commands("train", **taken) == _commands("train")


def test_further_options_follow_the_rest() -> None:
    (words,) = _commands("train", "ARGS=--seed 3 --set 'a.b=\"c d\"'")
    assert words[-4:] == ["--seed", "3", "--set", 'a.b="c d"']


def test_command_that_fails_makes_make_fail(checkout: Path) -> None:
    done = _make("watch", "RUN=a", cwd=checkout, CODE="75")
    assert done.returncode == 2
    assert "75" in done.stderr


def test_clean_leaves_runs_caches_and_sources(checkout: Path) -> None:
    kept = ("runs/a/report.html", "maps.zarr/zarr.json", "cli/main.py", "docs/index.md")
    gone = ("docs/_build/index.html", "cli/__pycache__/main.pyc", ".pytest_cache/x", "build/x")
    for name in (*kept, *gone):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).touch()
    assert _make("clean", cwd=checkout).returncode == 0
    assert [name for name in (*kept, *gone) if (checkout / name).exists()] == list(kept)
    assert not (checkout / ".venv").exists()
