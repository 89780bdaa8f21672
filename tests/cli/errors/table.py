"""All mistakes of the table."""

from __future__ import annotations

from tests.cli.errors.data_mistakes import DATA_MISTAKES

MISTAKES = (*DATA_MISTAKES,)
