"""A pytest plugin: `-p tests.cli.errors.provokers` prints which test provokes an unlisted site."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.errors.elsewhere import ELSEWHERE
from tests.cli.errors.sites import recorded, sites_at
from tests.cli.errors.table import MISTAKES

if TYPE_CHECKING:
    from collections.abc import Generator

_LISTED = {site for mistake in MISTAKES for site in mistake.at.split()} | set(ELSEWHERE)
_FOUND: dict[str, str] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Note the first test that passes and has come by a site."""
    with recorded() as lines:
        result = yield
    for site in sites_at(lines) - _LISTED:
        _FOUND.setdefault(site, item.nodeid)
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was found as lines of `elsewhere.toml`."""
    for site, test in sorted(_FOUND.items()):
        terminalreporter.write_line(f'"{site}" = "{test}"')
