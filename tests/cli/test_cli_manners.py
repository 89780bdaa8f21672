"""What all commands have in common: how much they say, how they fail, how quickly they help."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
import torch
from click.testing import CliRunner, Result

from cli.commands import UserErrorCommand
from cli.error_boundary import EXIT_BUG
from cli.lazy_group import LazyGroup
from cli.main import main
from cli.version import assignments, torch_build

if TYPE_CHECKING:
    from collections.abc import Iterator


def _commands(group: click.Group = main, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command, groups too."""
    yield path
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name)


ALL = sorted(_commands())


def _scae(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def _refresh(folder: Path, *words: object) -> Result:
    return _scae(
        "refresh", "--data", folder, "--cache", folder.parent / "maps.zarr", "--network", "resnet8",
        "--weights", "random", "--size", 16, *words,
    )  # fmt: skip


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_has_an_example_and_both_options(words: tuple[str, ...]) -> None:
    result = _scae(*words, "--help")
    assert result.exit_code == 0
    example = f"  scae {' '.join(words)}" if words != ("completion",) else "scae completion bash"
    assert example in result.output
    context = click.Context(main)
    command: click.Command = main
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(context, word)
        assert found is not None
        command = found
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []
    assert "-q, --quiet" in result.output
    assert "-v, --verbose" in result.output


def test_no_help_nor_completion_imports_a_heavy_package() -> None:
    words = [["--version"], ["completion", "bash"], *([*path, "--help"] for path in ALL)]
    program = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from cli.main import main\n"
        f"for words in {words!r}:\n"
        "    assert CliRunner().invoke(main, words).exit_code == 0, words\n"
        "    heavy = {'torch', 'torchvision', 'zarr', 'dask', 'numpy', 'rich', 'PIL'}\n"
        "    found = sorted(heavy & set(sys.modules))\n"
        "    assert not found, f'{words} imports {found}'\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_version_names_scae_torch_and_python() -> None:
    told = _scae("--version").output
    build = torch.version.cuda
    wanted = f"torch {torch.__version__} ({f'CUDA {build}' if build else 'CPU only'}), Python "
    assert told.startswith(f"scae 0.1.0, {wanted}{sys.version.split()[0]}")


def test_version_of_other_builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for source, wanted in (
        ("__version__ = '2.9.0+cpu'\ncuda = None\n", "torch 2.9.0+cpu (CPU only)"),
        ("__version__ = '2.9'\nhip: str | None = '6.4'\nrocm = '6.4'\n", "torch 2.9 (ROCm 6.4)"),
    ):
        (tmp_path / "version.py").write_text(source)
        (tmp_path / "__init__.py").touch()
        monkeypatch.setattr(
            "cli.version.importlib.util.find_spec",
            lambda _name: type("Spec", (), {"origin": str(tmp_path / "__init__.py")}),
        )
        assert torch_build() == wanted
    monkeypatch.setattr("cli.version.importlib.util.find_spec", lambda _name: None)
    assert torch_build() == "torch not installed"
    assert assignments("import os\nx = os.name\ny, z = 1, 2\nw = 3\n") == {"w": 3}


def test_quiet_refresh_prints_its_result_alone(folder: Path) -> None:
    told = _refresh(folder, "--quiet")
    assert told.exit_code == 0, told.output
    assert told.stderr == ""
    assert "generation 1 of 18 maps" in told.stdout


def test_quiet_may_stand_before_the_command(folder: Path) -> None:
    result = CliRunner().invoke(main, ["--quiet", "cache", "info", str(folder)])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: no cache")


def test_verbose_shows_steps_with_their_time(folder: Path) -> None:
    assert "block 0 is done" not in _refresh(folder).stderr
    told = _refresh(folder, "--verbose", "--epoch", 2)
    assert told.exit_code == 0, told.output
    step = re.compile(r"\d\d:\d\d:\d\d\.\d\d\d (\w+): (.*)")
    steps = [found.group(2) for line in told.stderr.splitlines() if (found := step.match(line))]
    wanted = ("opened data", "built network resnet8", "block 0 is done", "generation 2 of ")
    assert all(any(text.startswith(word) for text in steps) for word in wanted), steps
    assert logging.getLogger("scae").handlers == []
    assert logging.getLogger("scae").level == logging.NOTSET


def test_quiet_and_verbose_exclude_each_other() -> None:
    for words in (["-q", "-v", "cache"], ["--quiet", "cache", "info", "x", "--verbose"]):
        result = _scae(*words)
        assert result.exit_code == 2
        assert "only one of --quiet and --verbose can be given" in result.stderr


def _failing(error: BaseException) -> LazyGroup:
    """Return a group whose one command raises."""

    @click.command("fail", cls=UserErrorCommand)
    def fail() -> None:
        raise error

    class Group(LazyGroup):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            return fail

    return Group("scae", lazy_commands={"fail": ("", "", "")})


def test_a_bug_ends_in_one_line_that_says_where_its_traceback_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = CliRunner().invoke(_failing(KeyError("a\nb")), ["fail"])
    assert result.exit_code == EXIT_BUG == 70
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: unexpected KeyError: 'a\\nb'; this is a bug in scae 0.1.0: ")
    (file,) = tmp_path.glob("scae-bug-*.txt")
    assert str(file) in line
    text = file.read_text()
    assert "raise error" in text
    assert "Python 3." in text


def test_verbose_shows_the_traceback_of_a_bug_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    result = CliRunner().invoke(_failing(ValueError("x")), ["fail", "--verbose"])
    assert result.exit_code == EXIT_BUG
    assert "Traceback (most recent call last)" in result.stderr
    assert "(no file: No such file or directory)" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device", "/x"), "No space left on device: /x; make room"),
        (PermissionError(13, "Permission denied", "/x"), "denied: /x; see its permissions"),
        (MemoryError(), "out of memory (there is no more): use smaller batches"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory (CUDA out of memory): use"),
        (ModuleNotFoundError("No module named 'zarr'"), "No module named 'zarr'): see scae doctor"),
    ],
    ids=["disk", "rights", "memory", "gpu-memory", "import"],
)
def test_what_machine_and_installation_refuse_is_no_bug(error: Exception, message: str) -> None:
    result = CliRunner().invoke(_failing(error), ["fail"])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert message in line


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -P -c 'from cli.main import main; main()' --help | head -1",
        shell=True, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("Usage: ")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("refesh", "scae has no command 'refesh'; did you mean scae refresh?"),
        ("info maps.zarr", "scae has no command 'info'; did you mean scae cache info?"),
        ("cache verfy", "scae cache has no command 'verfy'; did you mean scae cache verify?"),
        ("zzz", "scae has no command 'zzz'; see the list in its --help"),
        ("train --recipes x --run y", "--recipe"),
        ("train --batch_size 3", "'--batch_size'"),
    ],
)
def test_wrong_words_say_what_may_have_been_meant(words: str, hint: str) -> None:
    result = _scae(*words.split())
    assert result.exit_code == 2
    assert hint in result.stderr
