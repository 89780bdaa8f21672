"""From paths of finished runs to a comparison."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import RecipeError
from pipeline.training.comparison.collect import collect_runs
from pipeline.training.comparison.missing import missing_runs, missing_tables
from pipeline.training.comparison.outcome import Comparison
from pipeline.training.comparison.paper import PaperTable, load_paper
from pipeline.training.comparison.tables import compare_runs
from pipeline.training.comparison.variants import RowRecipes
from pipeline.training.run_record import RunRecord

__all__ = ["compare"]

RECIPES = Path("recipes")
"""Where a clone of the project has them."""


def compare(
    paths: Sequence[Path],
    *,
    recipes: Path | None = None,
    paper: Path | None = None,
    names: Sequence[str] = (),
    against: str | None = None,
    seeds: Sequence[int] | None = None,
) -> Comparison:
    """Compare runs with each other, with the paper and with published figures.

    Args:
        paths: Records, run folders, or folders of either.
        recipes: Folder of the recipes of the paper's rows; None: `recipes`.
        paper: File of the paper's figures; None: paper/figures.toml in that folder. Where neither
            is given it need not be there, and runs are compared with each other alone.
        names: Tables to show, by name; empty for all.
        against: Recipe or label of the row to compare with; None: each table's own.
        seeds: Seeds that every row should have; None: all that a table's runs have.

    Raises:
        RecipeError: If a file can't be read, there is no finished run, or no such table or row.
    """
    warnings: list[str] = []
    folder = recipes or RECIPES
    tables = _chosen(_paper_tables(recipes, paper, warnings), names)
    known = RowRecipes(folder, {row.recipe for table in tables for row in table.rows})
    records = collect_runs(paths, warnings.append)
    if not records:
        raise RecipeError(
            f"no finished run in {', '.join(map(str, paths))}: go on with one by "
            "`scae train --resume`"
        )
    compared = compare_runs(records, tables, known, against=against, seeds=seeds, others=not names)
    ours = [table for table in compared if table.paper in tables]
    runs = next((path for path in paths if list(path.glob("*.json"))), Path("runs"))
    return Comparison(
        tables=compared,
        missing=missing_runs(ours, known, runs),
        untouched=missing_tables(tables, ours, known, runs, seeds),
        warnings=warnings,
        versions=_versions(records),
    )


def _paper_tables(
    recipes: Path | None, paper: Path | None, warnings: list[str]
) -> tuple[PaperTable, ...]:
    path = paper or (recipes or RECIPES) / "paper" / "figures.toml"
    if recipes is None and paper is None and not path.exists():
        warnings.append(
            f"no figures of the paper at {path}, so runs are compared with each other alone; name "
            "the recipes' folder with --recipes"
        )
        return ()
    return load_paper(path)


def _chosen(tables: Sequence[PaperTable], names: Sequence[str]) -> list[PaperTable]:
    known = [table.name for table in tables]
    for name in names:
        if name not in known:
            allowed = f"one of {', '.join(known)}" if known else "left out without any table"
            raise RecipeError(f"--table must be {allowed}, got {name!r}")
    return [table for table in tables if not names or table.name in names]


def _versions(records: Sequence[RunRecord]) -> list[str]:
    texts = [
        ", ".join(f"{name} {value}" for name, value in record.versions.items()) or "not recorded"
        for record in records
    ]
    return [f"{text}: {texts.count(text)} of {len(texts)} runs" for text in sorted(set(texts))]
