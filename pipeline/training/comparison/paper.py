"""The paper's tables, with its figures and published ones, from the file beside the recipes."""

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pipeline.errors import RecipeError
from pipeline.training.run_record import FINAL_METRICS

WHAT_TO_NAME = "name the recipes' folder with --recipes, or the file with --paper"
"""What to do where the figures can't be read."""

__all__ = ["PaperRow", "PaperTable", "load_paper"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperRow:
    """One row; figures in percent by name of the metric."""

    recipe: str
    """Name of the recipe's file without its ending."""
    label: str
    """The method as the table calls it."""
    paper: dict[str, float] = field(default_factory=dict)
    """The paper's figures, empty where it has none."""
    published: dict[str, float] = field(default_factory=dict)
    """Figures of the method's authors, or of others who ran it."""
    source: str = ""
    """Whose they are, and what differs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperTable:
    """One table."""

    name: str
    """What commands call it."""
    title: str
    """What the reader sees."""
    note: str = ""
    """What to know when comparing."""
    metrics: tuple[str, ...]
    """Figures shown, the first one being what rows are compared by."""
    against: str
    """Recipe of the row that others are compared with."""
    rows: tuple[PaperRow, ...]
    """The rows in the paper's order."""


def load_paper(path: Path) -> tuple[PaperTable, ...]:
    """Read the tables.

    Raises:
        RecipeError: If the file can't be read, or a key is missing or unknown.
    """
    try:
        tables = tomllib.loads(path.read_text())["table"]
        return tuple(_table(path, table) for table in tables)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(
            f"can't read the paper's figures {path}: {error}; {WHAT_TO_NAME}"
        ) from error
    except (KeyError, TypeError) as error:
        raise RecipeError(
            f"the paper's figures {path} are not as expected: {error!r}; {WHAT_TO_NAME}"
        ) from error


def _table(path: Path, values: dict[str, Any]) -> PaperTable:
    _check_keys(path, values, PaperTable)
    rows = tuple(_row(path, row) for row in values["rows"])
    table = PaperTable(**{**values, "rows": rows, "metrics": tuple(values["metrics"])})
    unknown = [name for name in table.metrics if name not in FINAL_METRICS]
    if unknown or not table.metrics:
        raise RecipeError(
            f"{path}: metrics of table {table.name} must be of {', '.join(FINAL_METRICS)}, got "
            f"{list(table.metrics)}"
        )
    if table.against not in [row.recipe for row in rows]:
        raise RecipeError(
            f"{path}: table {table.name} has no row {table.against!r} to go against: name one of "
            "its recipes"
        )
    return table


def _row(path: Path, values: dict[str, Any]) -> PaperRow:
    _check_keys(path, values, PaperRow)
    return PaperRow(**values)


def _check_keys(path: Path, values: dict[str, Any], kind: type) -> None:
    known = [item.name for item in fields(kind)]
    for key in values:
        if key not in known:
            raise RecipeError(f"{path}: unknown key {key}; known keys: {', '.join(known)}")
