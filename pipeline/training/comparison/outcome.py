"""What a comparison says, whatever it is written as."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.training.comparison.missing import Missing
from pipeline.training.comparison.tables import ComparedTable

__all__ = ["TITLE", "Comparison", "table_sources", "table_title"]

TITLE = "Methods compared"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Everything that a comparison says."""

    tables: Sequence[ComparedTable]
    """Tables that have runs."""
    missing: Sequence[Missing]
    """Rows and seeds that they lack."""
    untouched: Sequence[Missing]
    """Tables without any run."""
    warnings: Sequence[str]
    """What was odd about the runs."""
    versions: Sequence[str]
    """What the runs were made with, a line for each combination of versions."""

    def lists(self) -> dict[str, Sequence[Missing]]:
        """Return what is missing by title; a title without anything is left out."""
        lists = {"Missing runs": self.missing, "Tables not begun": self.untouched}
        return {title: items for title, items in lists.items() if items}

    def remarks(self) -> dict[str, Sequence[str]]:
        """Return what else is to be said by title; a title without anything is left out."""
        remarks = {"Warnings": self.warnings, "Made with": self.versions}
        return {title: texts for title, texts in remarks.items() if texts}


def table_title(table: ComparedTable) -> str:
    """Return a table's title, with how its runs differ from their recipes."""
    variant = table.variant.describe()
    return f"{table.paper.title} ({variant})" if variant else table.paper.title


def table_sources(table: ComparedTable) -> list[str]:
    """Return where the published figures come from."""
    return [
        f"{row.known.label}, published: {row.known.source}."
        for row in table.rows
        if row.known.source
    ]
