"""Writing a comparison as Markdown, CSV and HTML files."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import RecipeError
from pipeline.refresh.whole_file import write_whole
from pipeline.training.comparison.cells import cell_rows, column_names, table_notes
from pipeline.training.comparison.compared_page import html_text
from pipeline.training.comparison.outcome import TITLE, Comparison, table_sources, table_title
from pipeline.training.comparison.tables import ComparedRow, ComparedTable

__all__ = ["csv_text", "markdown_text", "write_comparison"]

CSV_COLUMNS = (
    "table", "variant", "recipe", "method", "metric", "seeds", "count", "mean", "std", "against",
    "difference", "low", "high", "paper", "published", "source", "best", "erased_pixels", "seconds",
)  # fmt: skip
"""One line a row and metric; figures in percent, not rounded."""


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write report.md, report.csv and report.html into a folder; each is there whole or not at all.

    Raises:
        RecipeError: If the folder can't be made or written.
    """
    texts = {
        "report.md": markdown_text(comparison),
        "report.csv": csv_text(comparison),
        "report.html": html_text(comparison),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_whole(folder / name, text.encode("utf-8", "replace"))
    except OSError as error:
        raise RecipeError(
            f"can't write a report into {folder}: {error.strerror}; name another --out"
        ) from error
    return [folder / name for name in texts]


def markdown_text(comparison: Comparison) -> str:
    """Return the comparison as Markdown."""
    lines = [f"# {TITLE}", ""]
    for table in comparison.tables:
        lines += [f"## {table_title(table)}", "", *[f"{note}\n" for note in table_notes(table)]]
        heads = column_names(table)
        lines += [_line(heads), _line(["---"] * len(heads))]
        lines += [_line(cells) for cells in cell_rows(table)]
        lines += ["", *[f"- {source}" for source in table_sources(table)], ""]
    for title, items in comparison.lists().items():
        lines += [f"## {title}", ""]
        lines += [f"- {item.what}\n  `{item.command}`" for item in items]
        lines.append("")
    for title, texts in comparison.remarks().items():
        lines += [f"## {title}", "", *[f"- {text}" for text in texts], ""]
    return "\n".join(lines).rstrip() + "\n"


def csv_text(comparison: Comparison) -> str:
    """Return the tables as CSV, see `CSV_COLUMNS`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for table in comparison.tables:
        for row in table.rows:
            for metric in table.paper.metrics:
                writer.writerow(_csv_row(table, row, metric))
    return text.getvalue()


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _csv_row(table: ComparedTable, row: ComparedRow, metric: str) -> dict[str, object]:
    found, difference = row.figures.get(metric), row.differences.get(metric)
    return {
        "table": table.paper.name,
        "variant": table.variant.describe(),
        "recipe": row.known.recipe,
        "method": row.known.label,
        "metric": metric,
        "seeds": " ".join(map(str, row.seeds)),
        "count": found and found.count,
        "mean": found and found.mean,
        "std": found and found.std,
        "against": table.against,
        "difference": difference and difference.mean,
        "low": difference and difference.low,
        "high": difference and difference.high,
        "paper": row.known.paper.get(metric),
        "published": row.known.published.get(metric),
        "source": row.known.source,
        "best": row.best and row.best.mean,
        "erased_pixels": row.erased_pixels and row.erased_pixels.mean,
        "seconds": row.seconds and row.seconds.mean,
    }
