"""Where the product makes errors for its user, and which of these places a test has come by.

A place is named by file and function, such as `loaders/named_data.py::_folder`, and the second one
of a function by `loaders/named_data.py::_folder#2`.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cache_store.errors import ScaeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType

ROOT = Path(__file__).parent.parent.parent.parent
PACKAGES = ("cache_store", "loaders", "pipeline", "cli")
CLICK_ERRORS = {"ClickException", "UsageError", "BadParameter", "NoSuchOption"}

Line = tuple[str, int]
"""A file relative to the root, and a line of it."""

_RECORDS: list[set[Line]] = []
"""What those are told who record errors just now."""


@cache
def errors_made() -> Mapping[str, tuple[str, ast.Call]]:
    """Name every place that makes an error: site -> its file and the call that makes it."""
    trees = _trees()
    found: dict[str, tuple[str, ast.Call]] = {}
    counts: Counter[str] = Counter()
    for file, tree in trees.items():
        for function, call in _calls_in(tree, ()):
            if _name_of(call.func) in _error_classes():
                name = f"{file}::{function}"
                counts[name] += 1
                found[name if counts[name] == 1 else f"{name}#{counts[name]}"] = (file, call)
    return found


def sites() -> Mapping[str, tuple[str, range]]:
    """Return where places lie that make an error: site -> its file and its lines."""
    return {
        site: (file, range(call.lineno, (call.end_lineno or call.lineno) + 1))
        for site, (file, call) in errors_made().items()
    }


def classes() -> frozenset[str]:
    """Name the product's own classes of errors, without the one that all derive from."""
    return _error_classes() - CLICK_ERRORS - {"ScaeError"}


def sites_at(lines: set[Line]) -> set[str]:
    """Name the places that lie at `lines`."""
    return {
        site
        for site, (file, span) in sites().items()
        if any(file == at and line in span for at, line in lines)
    }


@contextmanager
def recorded() -> Iterator[set[Line]]:
    """Collect the lines at which this process makes errors for a user; may be nested."""
    lines: set[Line] = set()
    if not _RECORDS:
        _watch_errors()
    _RECORDS.append(lines)
    try:
        yield lines
    finally:
        _RECORDS[:] = [record for record in _RECORDS if record is not lines]


@cache
def _watch_errors() -> None:
    """Tell `_RECORDS` of every error from now on."""
    click_init = click.ClickException.__init__

    def scae(self: ScaeError, *args: object) -> None:
        _note(sys._getframe(1))
        super(ScaeError, self).__init__(*args)

    def of_click(self: click.ClickException, *args: Any, **keywords: Any) -> None:  # noqa: ANN401
        _note(sys._getframe(1))
        click_init(self, *args, **keywords)

    ScaeError.__init__ = scae  # type: ignore[method-assign, assignment]
    click.ClickException.__init__ = of_click  # type: ignore[method-assign]


@cache
def _trees() -> dict[str, ast.Module]:
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text())
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def _note(frame: FrameType | None) -> None:
    while frame is not None and frame.f_code.co_name == "__init__" and _is_error(frame):
        frame = frame.f_back
    if frame is None:
        return
    file = Path(frame.f_code.co_filename)
    if file.is_relative_to(ROOT):
        for record in _RECORDS:
            record.add((file.relative_to(ROOT).as_posix(), frame.f_lineno))


def _is_error(frame: FrameType) -> bool:
    return isinstance(frame.f_locals.get("self"), ScaeError | click.ClickException)


@cache
def _error_classes() -> frozenset[str]:
    errors = {"ScaeError", *CLICK_ERRORS}
    trees = _trees().values()
    made = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    num_known = 0
    while num_known < len(errors):
        num_known = len(errors)
        errors |= {node.name for node in made if errors & set(map(_name_of, node.bases))}
    return frozenset(errors)


def _calls_in(node: ast.AST, path: tuple[str, ...]) -> Iterator[tuple[str, ast.Call]]:
    for child in ast.iter_child_nodes(node):
        inner = path
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = (*path, child.name)
        if isinstance(child, ast.Call):
            yield ".".join(path), child
        yield from _calls_in(child, inner)


def _name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
