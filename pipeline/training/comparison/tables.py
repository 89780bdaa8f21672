"""Putting finished runs into the rows of the paper's tables; all figures in percent."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.errors import RecipeError
from pipeline.training.comparison.paper import PaperRow, PaperTable
from pipeline.training.comparison.statistics import (
    PairedDifference,
    Spread,
    paired_difference,
    spread,
)
from pipeline.training.comparison.variants import RowRecipes, Variant, flat_settings
from pipeline.training.run_record import RunRecord

__all__ = ["ComparedRow", "ComparedTable", "compare_runs"]

Runs = dict[int, RunRecord]
"""One run for each seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedRow:
    """One method: what was found, and what is known of it elsewhere."""

    known: PaperRow
    """Label, the paper's and published figures."""
    seeds: tuple[int, ...]
    """Seeds that are there."""
    missing: tuple[int, ...]
    """Seeds that other rows have and this one has not."""
    figures: dict[str, Spread] = field(default_factory=dict)
    """The last epoch's, by metric; those that were not measured are left out."""
    best: Spread | None = None
    """Top-1 of each run's best epoch."""
    differences: dict[str, PairedDifference] = field(default_factory=dict)
    """Against the table's chosen row, by metric."""
    erased_pixels: Spread | None = None
    """Mean erased share of pixels in percent."""
    seconds: Spread | None = None
    """Time of a run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedTable:
    """One table of runs that differ from their recipes in the same way."""

    paper: PaperTable
    """The table of the paper, or one made for other runs."""
    variant: Variant
    """How all of its runs differ from their recipes."""
    against: str
    """Recipe of the row that differences are against."""
    rows: tuple[ComparedRow, ...]
    """In the paper's order."""
    roots: tuple[str, ...] = ()
    """Data folders that runs were made with: commands have to name one."""


def compare_runs(
    records: Sequence[RunRecord],
    tables: Sequence[PaperTable],
    recipes: RowRecipes,
    *,
    against: str | None = None,
    seeds: Sequence[int] | None = None,
    others: bool = True,
) -> list[ComparedTable]:
    """Return the tables that have a run, one for each way that runs differ from their recipes.

    Runs of none of these recipes get a table of their own at the end.

    Args:
        records: Finished runs.
        tables: The paper's tables.
        recipes: Recipes of their rows.
        against: Recipe or label of the row to compare with; None: each table's own.
        seeds: Seeds that every row should have; None: all that a table's runs have.
        others: Whether to show the other runs.

    Raises:
        RecipeError: If no table has a row `against`.
    """
    grouped: dict[Variant, dict[str, Runs]] = {}
    for record in records:
        name = recipes.name_of(record)
        if name is not None:
            variant = recipes.variant(name, record)
            grouped.setdefault(variant, {}).setdefault(name, {})[record.seed] = record
    mine, table_of_mine = _other_runs(records, recipes) if others else ({}, None)
    _check_against([*tables, table_of_mine] if table_of_mine else tables, against)
    compared = []
    for table in tables:
        names = [row.recipe for row in table.rows]
        for variant in sorted(grouped, key=lambda one: (one.debug, one.changes)):
            found = {name: grouped[variant][name] for name in names if name in grouped[variant]}
            if found:
                compared.append(_table(table, variant, found, against, seeds))
    if table_of_mine:
        compared.append(_table(table_of_mine, Variant(), mine, against, seeds))
    return compared


def _other_runs(
    records: Sequence[RunRecord], recipes: RowRecipes
) -> tuple[dict[str, Runs], PaperTable | None]:
    """Return the runs that are of none of the paper's recipes by row, and a table of these rows."""
    grouped: dict[tuple[str, str], Runs] = {}
    for record in records:
        if recipes.name_of(record) is None:
            settings = repr(sorted(flat_settings(record.settings).items()))
            grouped.setdefault((record.name, settings), {})[record.seed] = record
    if not grouped:
        return {}, None
    found: dict[str, Runs] = {}
    for number, runs in enumerate(grouped.values(), 1):
        recipe = next(iter(runs.values())).recipe
        found[f"run {number}" if recipe is None or recipe in found else recipe] = runs
    rows = [
        PaperRow(recipe=key, label=next(iter(runs.values())).name) for key, runs in found.items()
    ]
    return found, PaperTable(
        name="other",
        title="Other runs",
        metrics=("top1", "balanced", "many", "medium", "few"),
        against=rows[0].recipe,
        rows=tuple(rows),
    )


def _check_against(tables: Sequence[PaperTable], against: str | None) -> None:
    rows = [row for table in tables for row in table.rows]
    if against is not None and not any(against in (row.recipe, row.label) for row in rows):
        names = ", ".join(dict.fromkeys(row.recipe for row in rows))
        raise RecipeError(f"--against must be one of {names}, or a row's label, got {against!r}")


def _table(
    table: PaperTable,
    variant: Variant,
    found: dict[str, Runs],
    against: str | None,
    seeds: Sequence[int] | None,
) -> ComparedTable:
    chosen = [row.recipe for row in table.rows if against in (row.recipe, row.label)]
    reference = chosen[0] if chosen else table.against
    wanted = sorted({seed for runs in found.values() for seed in runs} if seeds is None else seeds)
    roots = {
        record.settings["data"].get("root") for runs in found.values() for record in runs.values()
    }
    return ComparedTable(
        paper=table,
        variant=variant,
        against=reference,
        rows=tuple(
            _row(row, found.get(row.recipe, {}), found.get(reference, {}), wanted, table.metrics)
            for row in table.rows
        ),
        roots=tuple(sorted(root for root in roots if root)),
    )


def _row(
    known: PaperRow, runs: Runs, reference: Runs, wanted: Sequence[int], metrics: Sequence[str]
) -> ComparedRow:
    figures, differences = {}, {}
    for metric in metrics:
        ours, theirs = _percent(runs, metric), _percent(reference, metric)
        found = spread(list(ours.values()))
        if found is not None:
            figures[metric] = found
        difference = paired_difference(ours, theirs) if runs is not reference else None
        if difference is not None:
            differences[metric] = difference
    records = list(runs.values())
    return ComparedRow(
        known=known,
        seeds=tuple(sorted(runs)),
        missing=tuple(seed for seed in wanted if seed not in runs),
        figures=figures,
        best=_spread([record.best["top1"] for record in records]),
        differences=differences,
        erased_pixels=_spread([record.erased_pixels["all"] for record in records]),
        seconds=spread([record.seconds["total"] for record in records]),
    )


def _percent(runs: Runs, metric: str) -> dict[int, float]:
    values = {seed: record.final[metric] for seed, record in runs.items()}
    return {seed: 100 * value for seed, value in values.items() if value is not None}


def _spread(shares: Sequence[float | None]) -> Spread | None:
    return spread([100 * share for share in shares if share is not None])
