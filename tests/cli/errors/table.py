"""All mistakes of the table."""

from __future__ import annotations

from tests.cli.errors.cache_mistakes import CACHE_MISTAKES
from tests.cli.errors.data_mistakes import DATA_MISTAKES
from tests.cli.errors.network_mistakes import NETWORK_MISTAKES
from tests.cli.errors.run_mistakes import RUN_MISTAKES
from tests.cli.errors.training_mistakes import TRAINING_MISTAKES

MISTAKES = (*DATA_MISTAKES, *CACHE_MISTAKES, *NETWORK_MISTAKES, *TRAINING_MISTAKES, *RUN_MISTAKES)
