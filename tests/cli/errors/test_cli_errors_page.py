"""docs/troubleshooting.md quotes what commands really say, and leaves nothing out."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from tests.cli.errors.sites import ROOT, classes, errors_made
from tests.cli.errors.table import MISTAKES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.errors.provoke import Answer, Mistake

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
ENTRIES = [
    quoted
    for section in PAGE.split("\n## ")
    if not section.startswith(("Exit codes", "In Python", "# "))
    for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    for quoted in re.findall(r"`([^`]+)`", row)
]


def _pattern(quoted: str) -> re.Pattern[str]:
    parts = [re.escape(part.strip()) for part in quoted.split("…")]
    return re.compile(".*".join(parts))


def _templates() -> list[str]:
    """Return the texts of all errors in the sources, with '…' for what is filled in."""
    calls = (call for _, call in errors_made().values())
    return [_template(call.args[0]) for call in calls if call.args]


def _template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(part) for part in node.values)
    return "…"


@pytest.fixture(scope="module")
def messages(answer_to: Callable[[Mistake], Answer]) -> dict[str, str]:
    """What commands say to each mistake that is none of usage."""
    return {one.name: answer_to(one).message for one in MISTAKES if one.code != 2}


def test_every_entry_quotes_what_is_said(messages: dict[str, str]) -> None:
    said = [*messages.values(), *_templates()]
    invented = [quoted for quoted in ENTRIES if not any(map(_pattern(quoted).search, said))]
    assert len(ENTRIES) > 150
    assert invented == []


def test_every_message_is_on_the_page(messages: dict[str, str]) -> None:
    patterns = list(map(_pattern, ENTRIES))
    missing = {
        name: message
        for name, message in messages.items()
        if not any(pattern.search(message) for pattern in patterns)
    }
    assert missing == {}


def test_every_class_of_errors_is_on_the_page() -> None:
    last = PAGE.split("\n## In Python\n")[1]
    internal = {name for name in classes() if name.startswith("_")} | {"DamagedIndexError"}
    assert set(re.findall(r"`(\w+)`", last)) == classes() - internal
