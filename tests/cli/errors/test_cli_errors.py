"""Each mistake of the table: one line that names thing and cure, no traceback, the right code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.errors.table import MISTAKES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.errors.provoke import Answer, Mistake


@pytest.mark.parametrize("mistake", [pytest.param(one, id=one.name) for one in MISTAKES])
def test_a_mistake_is_told_in_one_line_with_its_cure(
    mistake: Mistake, answer_to: Callable[[Mistake], Answer]
) -> None:
    answer = answer_to(mistake)
    assert answer.code == mistake.code, answer.output
    *before, last = answer.stderr.splitlines()
    assert last.startswith("Error: "), answer.stderr
    assert not any(line.startswith(("Error", "Traceback", "  File ")) for line in before)
    assert mistake.message in last
    assert mistake.cure in last
    assert set(mistake.at.split()) <= answer.sites, f"provoked at {sorted(answer.sites)}"
