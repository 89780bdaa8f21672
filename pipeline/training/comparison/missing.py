"""Which runs a comparison lacks, and the commands that make them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.training.comparison.paper import PaperTable
from pipeline.training.comparison.tables import ComparedTable
from pipeline.training.comparison.variants import RowRecipes

__all__ = ["DEFAULT_SEEDS", "Missing", "missing_runs", "missing_tables"]

DEFAULT_SEEDS = (0, 1, 2)
"""Of tables without any run."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Runs that are not there."""

    what: str
    """Row or table, and seeds."""
    command: str
    """Makes them."""


def missing_runs(tables: Sequence[ComparedTable], recipes: RowRecipes, runs: Path) -> list[Missing]:
    """Return what rows of begun tables lack.

    Args:
        tables: The tables.
        recipes: Where the recipes are.
        runs: Folder of the sweep to put them into.
    """
    found: dict[str, Missing] = {}
    for table in tables:
        root = ["--set", shlex.quote(f"data.root={table.roots[0]}")] if table.roots else []
        for row in table.rows:
            if not row.missing:
                continue
            words = [*table.variant.words(), *root]
            command = _command([row.known.recipe], row.missing, recipes.folder, runs, words)
            seeds = ", ".join(map(str, row.missing))
            found.setdefault(
                command, Missing(f"{table.paper.title}: {row.known.label}, seed {seeds}", command)
            )
    return list(found.values())


def missing_tables(
    tables: Sequence[PaperTable],
    compared: Sequence[ComparedTable],
    recipes: RowRecipes,
    runs: Path,
    seeds: Sequence[int] | None,
) -> list[Missing]:
    """Return the tables that have no run at all."""
    begun = {table.paper.name for table in compared}
    wanted = DEFAULT_SEEDS if seeds is None else seeds
    return [
        Missing(
            f"{table.title}: all {len(table.rows)} rows",
            _command([row.recipe for row in table.rows], wanted, recipes.folder, runs, []),
        )
        for table in tables
        if table.name not in begun
    ]


def _command(
    names: Sequence[str], seeds: Sequence[int], folder: Path, runs: Path, words: Sequence[str]
) -> str:
    files = [shlex.quote(str(folder / f"{name}.toml")) for name in names]
    numbers = [str(seed) for seed in seeds]
    return " ".join(
        ["scae sweep", *files, "--seeds", *numbers, "--runs", shlex.quote(str(runs)), *words]
    )
