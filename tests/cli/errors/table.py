"""All mistakes of the tables."""

from __future__ import annotations

from tests.cli.errors.cache_mistakes import CACHE_MISTAKES
from tests.cli.errors.combination_mistakes import COMBINATION_MISTAKES
from tests.cli.errors.command_mistakes import COMMAND_MISTAKES
from tests.cli.errors.comparison_mistakes import COMPARISON_MISTAKES
from tests.cli.errors.damage_mistakes import DAMAGE_MISTAKES
from tests.cli.errors.data_mistakes import DATA_MISTAKES
from tests.cli.errors.evaluate_mistakes import EVALUATE_MISTAKES
from tests.cli.errors.mismatch_mistakes import MISMATCH_MISTAKES
from tests.cli.errors.network_mistakes import NETWORK_MISTAKES
from tests.cli.errors.preview_mistakes import PREVIEW_MISTAKES
from tests.cli.errors.recipe_mistakes import RECIPE_MISTAKES
from tests.cli.errors.refresh_mistakes import REFRESH_MISTAKES
from tests.cli.errors.run_mistakes import RUN_MISTAKES
from tests.cli.errors.watch_mistakes import WATCH_MISTAKES
from tests.cli.errors.weights_mistakes import WEIGHTS_MISTAKES

MISTAKES = (
    *COMMAND_MISTAKES,
    *DATA_MISTAKES,
    *CACHE_MISTAKES,
    *MISMATCH_MISTAKES,
    *DAMAGE_MISTAKES,
    *NETWORK_MISTAKES,
    *WEIGHTS_MISTAKES,
    *REFRESH_MISTAKES,
    *RECIPE_MISTAKES,
    *COMBINATION_MISTAKES,
    *RUN_MISTAKES,
    *EVALUATE_MISTAKES,
    *COMPARISON_MISTAKES,
    *WATCH_MISTAKES,
    *PREVIEW_MISTAKES,
)
