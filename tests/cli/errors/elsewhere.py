"""Which errors tests elsewhere provoke, read from `elsewhere.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path

_LISTED = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())

ELSEWHERE: dict[str, str] = _LISTED["tests"]
"""Site -> the test that provokes it."""
NEVER: dict[str, str] = _LISTED["never"]
"""Site -> why no test provokes it, and no user sees it."""
SITES_OF: dict[str, set[str]] = {
    test: {site for site, named in ELSEWHERE.items() if named == test}
    for test in set(ELSEWHERE.values())
}
"""Test -> the sites that it has to come by."""
