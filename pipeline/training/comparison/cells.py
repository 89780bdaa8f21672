"""A compared table as words: the same columns and cells for Markdown and HTML."""

from collections.abc import Sequence

from pipeline.training.comparison.paper import PaperRow
from pipeline.training.comparison.statistics import PairedDifference, Spread
from pipeline.training.comparison.tables import ComparedRow, ComparedTable

__all__ = ["DASH", "METRIC_NAMES", "cell_rows", "column_names", "table_notes"]

DASH = "\N{EN DASH}"
"""Stands for what is not known."""
METRIC_NAMES = {
    "top1": "top-1", "top5": "top-5", "balanced": "balanced", "ece": "ECE", "many": "many",
    "medium": "medium", "few": "few",
}  # fmt: skip
"""What tables call the figures."""


def column_names(table: ComparedTable) -> list[str]:
    """Return the heads of the columns."""
    first, *others = [METRIC_NAMES[metric] for metric in table.paper.metrics]
    return [
        "method", "paper", "paper's gain", "published", f"ours: {first}", "difference, 95 %",
        *others, "best epoch", "erased pixels", "time", "seeds",
    ]  # fmt: skip


def cell_rows(table: ComparedTable) -> list[list[str]]:
    """Return the cells, row by row."""
    by_recipe = {row.recipe: row for row in table.paper.rows}
    reference = next(row for row in table.rows if row.known.recipe == table.against)
    return [_cells(table, row, by_recipe[table.against], reference) for row in table.rows]


def table_notes(table: ComparedTable) -> list[str]:
    """Return what a reader has to know of a table."""
    label = next(row.label for row in table.paper.rows if row.recipe == table.against)
    notes = [table.paper.note] if table.paper.note else []
    different = table.variant.describe()
    if different:
        notes.append(
            f"These runs are not the recipes' own ({different}): the paper's and published figures "
            "are for other settings."
        )
    if table.variant.debug:
        notes.append("A debug form shows that a row runs; its accuracy means nothing.")
    notes.append(
        f"Accuracies in percent, mean \N{PLUS-MINUS SIGN} standard deviation over seeds, last "
        f"epoch. Differences are against {label}, seed by seed, with Student's 95 % interval; with "
        "one seed there is none."
    )
    return notes


def _cells(
    table: ComparedTable, row: ComparedRow, base: PaperRow, reference: ComparedRow
) -> list[str]:
    first, *others = table.paper.metrics
    difference = row.differences.get(first)
    return [
        row.known.label,
        _known(row.known.paper, table.paper.metrics),
        _gain(row.known.paper, base.paper, first) if row.known != base else DASH,
        _known(row.known.published, table.paper.metrics),
        _mean(row.figures.get(first)),
        DASH if difference is None else _difference(difference),
        *(_mean(row.figures.get(metric)) for metric in others),
        _mean(row.best),
        _mean(row.erased_pixels, digits=1),
        _time(row.seconds, reference.seconds),
        ", ".join(map(str, row.seeds)) or "none",
    ]


def _known(figures: dict[str, float], metrics: Sequence[str]) -> str:
    return " / ".join(f"{figures[name]:.2f}" for name in metrics if name in figures) or DASH


def _gain(figures: dict[str, float], base: dict[str, float], metric: str) -> str:
    if metric not in figures or metric not in base:
        return DASH
    return f"{figures[metric] - base[metric]:+.2f}"


def _mean(found: Spread | None, *, digits: int = 2) -> str:
    if found is None:
        return DASH
    if found.std is None:
        return f"{found.mean:.{digits}f}"
    return f"{found.mean:.{digits}f} \N{PLUS-MINUS SIGN} {found.std:.{digits}f}"


def _difference(found: PairedDifference) -> str:
    if found.low is None or found.high is None:
        return f"{found.mean:+.2f}"
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def _time(found: Spread | None, reference: Spread | None) -> str:
    if found is None:
        return DASH
    minutes = f"{found.mean / 60:.1f} min"
    if reference is None or reference is found or not reference.mean:
        return minutes
    return f"{minutes} (x{found.mean / reference.mean:.2f})"
