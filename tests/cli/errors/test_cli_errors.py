"""Each mistake of the table: one line that names thing and cure, no traceback, the right code."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import click
import pytest

from cli.main import main
from tests.cli.errors import sites as error_sites
from tests.cli.errors.elsewhere import ELSEWHERE, NEVER
from tests.cli.errors.sites import ROOT, sites
from tests.cli.errors.table import MISTAKES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cli.errors.provoke import Answer, Mistake


@pytest.mark.parametrize("mistake", [pytest.param(one, id=one.name) for one in MISTAKES])
def test_a_mistake_is_told_in_one_line_with_its_cure(
    mistake: Mistake, answer_to: Callable[[Mistake], Answer]
) -> None:
    answer = answer_to(mistake)
    assert answer.code == mistake.code, answer.output
    *before, last = answer.stderr.splitlines()
    assert last.startswith("Error: "), answer.stderr
    assert not any(line.startswith("Error") for line in before)
    assert "Traceback" not in answer.output
    assert mistake.code != 2 or before[0].startswith("Usage: scae ")
    assert mistake.message in last
    assert mistake.cure in last
    assert set(mistake.at.split()) <= answer.sites, f"provoked at {sorted(answer.sites)}"


def test_every_place_that_makes_an_error_is_provoked_by_a_test() -> None:
    provoked = {site for mistake in MISTAKES for site in mistake.at.split()}
    listed = provoked | set(ELSEWHERE) | set(NEVER)
    unlisted, gone = sorted(set(sites()) - listed), sorted(listed - set(sites()))
    cure = "provoke them in a table of tests/cli/errors, or name their tests in elsewhere.toml"
    assert not unlisted, f"no test provokes {', '.join(unlisted)}: {cure}"
    assert not gone, f"these make no error any more: {', '.join(gone)}"
    assert not provoked & set(ELSEWHERE), "the table provokes them: leave them out of the list"
    assert not (provoked | set(ELSEWHERE)) & set(NEVER)


def test_tests_that_are_named_for_an_error_are_there() -> None:
    functions: dict[str, set[str]] = {}
    for test in ELSEWHERE.values():
        file, _, rest = test.partition("::")
        if file not in functions:
            tree = ast.parse((ROOT / file).read_text())
            functions[file] = {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}
        assert rest.partition("[")[0] in functions[file], test


def test_a_new_error_is_seen_by_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "new.py").write_text(
        "class MyError(ScaeError): pass\n"
        "class Thing:\n"
        "    def do(self):\n"
        "        raise errors.MyError('one')\n"
        "        return click.UsageError(\n'two')\n"
        "        raise ValueError('no business of a user')\n"
    )
    monkeypatch.setattr(error_sites, "ROOT", tmp_path)
    for known in (error_sites._trees, error_sites._error_classes, error_sites.errors_made):
        monkeypatch.setattr(error_sites, known.__name__, known.__wrapped__)
    assert error_sites.sites() == {
        "cli/new.py::Thing.do": ("cli/new.py", range(4, 5)),
        "cli/new.py::Thing.do#2": ("cli/new.py", range(5, 7)),
    }


def _commands(group: click.Group, path: str = "") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}"


def test_every_command_is_in_the_table() -> None:
    lines = [f"{mistake.line} " for mistake in MISTAKES]
    commands = list(_commands(main))
    assert "cache gc" in commands
    assert [one for one in commands if not any(line.startswith(f"{one} ") for line in lines)] == []
