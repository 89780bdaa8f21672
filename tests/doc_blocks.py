"""Runs the fenced blocks of a page in their order, as a reader would, in one folder.

`sh` and `bash` blocks are run by bash, which ends a block at the first command that fails; so is a
command that ends a table's row, if the plan says so; `python` blocks as files. A `text` block shows
what the block before it prints: consecutive lines of its output, with any number in place of each
number, and with any lines in place of `...`.

The folder is the reader's: recipes, examples and scripts of the project, and what `reader_files`
describes. What can't be run as printed is declared in a `PagePlan`, with reasons.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import click

from cli.main import main

ROOT = Path(__file__).parent.parent
MADE = "scae train --recipe recipes/shapes.toml --run runs/shapes --resume"
"""What `make train` runs."""
SHELLS = ("sh", "bash")
BLOCK_SECONDS = 120
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ROW = re.compile(r"^\|.*\| `((?:scae|python|make) (?:(?!\.\.\.)[^`])*)` \|$", re.MULTILINE)
"""A row of a table that ends with a whole command."""
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
COMMAND = re.compile(r"(?:^|[\s/;(])scae (?P<words>.*)")
SHELL_ENDS = {"&", "&&", "|", "||", ";", ">", ">>", "2>&1", ")"}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    page: str
    line: int
    """Of its first line, from 1."""
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True)
class Swap:
    """Runs something else than what is printed."""

    printed: str
    run: str
    reason: str


@dataclass(frozen=True, slots=True)
class NotRun:
    """A block that is only checked: its syntax, and the words of its `scae` commands."""

    begins: str
    """How its text begins."""
    reason: str


@dataclass(frozen=True, slots=True)
class PagePlan:
    """How a page differs when it is tried here from what it prints."""

    swaps: tuple[Swap, ...] = ()
    not_run: tuple[NotRun, ...] = ()
    rows: bool = False
    """Whether a command that ends a table's row is run too."""
    environment: dict[str, str] = field(default_factory=dict)


def blocks_of(page: Path, *, rows: bool = False) -> list[Block]:
    """Return a page's fenced blocks, and tables' commands if asked for, in their order."""
    text = page.read_text()
    found = [(match.start(2), match[1].strip(), match[2]) for match in FENCE.finditer(text)]
    if rows:
        found += [(match.start(1), "sh", f"{match[1]}\n") for match in ROW.finditer(text)]
    return [
        Block(page.name, text[:start].count("\n") + 1, language, block)
        for start, language, block in sorted(found)
    ]


def shell_commands(text: str) -> list[str]:
    """Return a shell text's lines, continued ones as one, without comments and empty lines."""
    joined = re.sub(r"\\\n\s*", "", text)
    lines = [line.strip() for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def scae_words(line: str) -> list[str] | None:
    """Return the words of the `scae` command in a line, without "scae"; None: there is none."""
    found = COMMAND.search(line)
    if found is None:
        return None
    words = []
    for word in shlex.split(found["words"], comments=True):
        if word in SHELL_ENDS:
            break
        words.append(word)
        if word.endswith((";", ")")):
            break
    return [word.rstrip(";)") for word in words]


def find_command(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that words name, and the rest of them."""
    command: click.Command = main
    context, rest = click.Context(main), list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"no command {name} in {words}"
        command = found
    return command, rest


def check_words(words: list[str]) -> None:
    """Check that a command takes these words: names, options, values; what must be is there."""
    command, rest = find_command(words)
    try:
        command.make_context(command.name, rest, parent=click.Context(main))
    except click.exceptions.Exit:
        pass  # --help and --version end so
    except click.BadParameter as error:
        # Files of a reader who has a cluster are not here.
        if "does not exist" not in error.format_message():
            raise


def check_options(words: list[str]) -> None:
    """Check that a command knows the options among these words; others may be left out."""
    command, rest = find_command([word for word in words if word != "..."])
    try:
        command.make_parser(click.Context(command)).parse_args(rest)
    except click.BadOptionUsage as error:
        if "requires an argument" not in error.format_message():  # named without its value
            raise


@dataclass(frozen=True, slots=True)
class ReaderFolder:
    """The folder in which a page's commands are typed.

    Args:
        folder: Empty; gets what a clone of the project has.
        home: The reader's home folder.
        path: Folders of programs that come before the system's.
    """

    folder: Path
    home: Path
    path: tuple[Path, ...]

    def run(self, block: Block, text: str, environment: dict[str, str]) -> str:
        """Run a block to its end and return what it printed; what it exports lasts.

        Raises:
            AssertionError: If a command of it fails.
        """
        exports = self.home / ".exports"
        exports.touch()
        if block.language == "python":
            file = self.home / f"block_{block.line}.py"
            file.write_text(text)
            text = f"python -P {file}"
        lines = (
            "set -eE -o pipefail",
            f". {exports}",
            "trap 'echo \"failed: $BASH_COMMAND\"' ERR",
            f"trap 'export -p > {exports}' EXIT",
        )
        known = {
            **os.environ,
            "HOME": str(self.home),
            "PATH": os.pathsep.join([*map(str, self.path), os.environ["PATH"]]),
            "COLUMNS": "100",
            **environment,
        }
        with (self.home / ".output").open("w+") as output:
            job = subprocess.Popen(
                ["bash", "-c", "\n".join((*lines, text))],
                cwd=self.folder,
                env=known,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code: int | str = job.wait(timeout=BLOCK_SECONDS)
            except subprocess.TimeoutExpired:
                code = "none in time"
            finally:
                _end_group(job)
            output.seek(0)
            printed = output.read()
        assert code == 0, f"{block} ends with {code}\n{text}\n--- printed:\n{printed[-4000:]}"
        return printed


def _end_group(job: subprocess.Popen[bytes]) -> None:
    """End what a block has left in the background, and the block itself if it goes on."""
    try:
        os.killpg(job.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    job.wait()


def run_page(page: Path, plan: PagePlan, reader: ReaderFolder) -> None:
    """Run, compare or check each block of a page.

    Raises:
        AssertionError: If a block does not do what the page says, if nothing is known about it, or
            if something is declared that the page does not have.
    """
    blocks = blocks_of(page, rows=plan.rows)
    swapped, left_out = set[Swap](), set[NotRun]()
    printed: str | None = None
    for block in blocks:
        declared = [one for one in plan.not_run if block.text.startswith(one.begins)]
        if declared:
            left_out.update(declared)
            check_only(block)
            printed = None
        elif block.language in (*SHELLS, "python"):
            text = block.text
            for swap in plan.swaps:
                if swap.printed in text:
                    swapped.add(swap)
                    text = text.replace(swap.printed, swap.run)
            printed = reader.run(block, text, plan.environment)
        elif block.language == "text" and printed is not None:
            check_output(block, printed)
        else:
            assert block.language.startswith("{"), f"{block}: nothing tries this block"
    assert set(plan.swaps) == swapped, f"not in {page.name}: {set(plan.swaps) - swapped}"
    assert set(plan.not_run) == left_out, f"not in {page.name}: {set(plan.not_run) - left_out}"


def check_only(block: Block) -> None:
    """Check a block that can't be run here: shell syntax, and the words of `scae` commands."""
    if block.language in SHELLS:
        done = subprocess.run(
            ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block}: {done.stderr}"
    elif block.language == "python":
        compile(block.text, str(block), "exec")
    for line in shell_commands(block.text):
        words = scae_words(line)
        if words is not None:
            check_options(words) if "..." in words else check_words(words)


def check_output(block: Block, printed: str) -> None:
    """Check that a block's lines are among those printed, as the module's head says."""
    parts = [
        r"(?:.*\n)*?" if line.strip() == "..." else f"{_with_numbers(line)}\n"
        for line in block.text.splitlines()
    ]
    lines = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
    found = re.search(rf"^{''.join(parts)}", lines, re.MULTILINE)
    assert found, f"{block} is not what is printed:\n{block.text}\n--- printed:\n{printed[-4000:]}"


def _with_numbers(line: str) -> str:
    """Return a pattern of a line that takes any number in place of each of its numbers."""
    words = NUMBER.split(line.rstrip())
    patterns = [re.escape(word).replace(r"\.\.\.", ".*") for word in words]
    return re.sub(r"(?:\\ )+", " +", NUMBER.pattern.join(patterns))  # columns move with numbers
