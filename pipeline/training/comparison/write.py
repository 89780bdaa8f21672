"""Writing a comparison as Markdown, CSV and HTML."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pipeline.errors import RecipeError
from pipeline.pictures.page import figure_grid, html_figure, html_page, html_section
from pipeline.refresh.whole_file import write_whole
from pipeline.training.comparison.cells import cell_rows, column_names, table_notes
from pipeline.training.comparison.charts import accuracy_chart, difference_chart
from pipeline.training.comparison.missing import Missing
from pipeline.training.comparison.tables import ComparedRow, ComparedTable

__all__ = ["Comparison", "csv_text", "html_text", "markdown_text", "write_comparison"]

CSV_COLUMNS = (
    "table", "variant", "recipe", "method", "metric", "seeds", "count", "mean", "std", "against",
    "difference", "low", "high", "paper", "published", "source", "best", "erased_pixels", "seconds",
)  # fmt: skip
"""One line a row and metric; figures in percent, not rounded."""
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
        lines += [f"## {_title(table)}", "", *[f"{note}\n" for note in table_notes(table)]]
        heads = column_names(table)
        lines += [_line(heads), _line(["---"] * len(heads))]
        lines += [_line(cells) for cells in cell_rows(table)]
        lines += ["", *[f"- {source}" for source in _sources(table)], ""]
    for title, items in _lists(comparison):
        lines += [f"## {title}", ""]
        lines += [f"- {item.what}\n  `{item.command}`" for item in items]
        lines.append("")
    for title, texts in _remarks(comparison):
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


def html_text(comparison: Comparison) -> str:
    """Return the comparison as one HTML page that needs nothing else."""
    sections = [f"<h1>{TITLE}</h1>"]
    sections += [
        html_section(f"table-{number}", escape(_title(table)), _html_table(table))
        for number, table in enumerate(comparison.tables)
    ]
    for title, items in _lists(comparison):
        entries = "".join(
            f"<p>{escape(item.what)}</p><pre>{escape(item.command)}</pre>" for item in items
        )
        sections.append(html_section(title.lower().replace(" ", "-"), title, entries))
    for title, texts in _remarks(comparison):
        entries = "".join(f"<p>{escape(text)}</p>" for text in texts)
        sections.append(html_section(title.lower().replace(" ", "-"), title, entries))
    return html_page(TITLE, sections)


def _title(table: ComparedTable) -> str:
    variant = table.variant.describe()
    return f"{table.paper.title} ({variant})" if variant else table.paper.title


def _html_table(table: ComparedTable) -> str:
    notes = "".join(f"<p>{escape(note)}</p>" for note in table_notes(table))
    head = "".join(f"<th>{escape(name)}</th>" for name in column_names(table))
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        for cells in cell_rows(table)
    )
    grid = (
        f"<div class='scroll'><table class='plain'><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )
    sources = "".join(f"<p><small>{escape(source)}</small></p>" for source in _sources(table))
    charts = [accuracy_chart(table), difference_chart(table)]
    figures = figure_grid(html_figure(chart) for chart in charts if chart is not None)
    return notes + grid + sources + figures


def _sources(table: ComparedTable) -> list[str]:
    return [
        f"{row.known.label}, published: {row.known.source}."
        for row in table.rows
        if row.known.source
    ]


def _lists(comparison: Comparison) -> list[tuple[str, Sequence[Missing]]]:
    lists = [("Missing runs", comparison.missing), ("Tables not begun", comparison.untouched)]
    return [(title, items) for title, items in lists if items]


def _remarks(comparison: Comparison) -> list[tuple[str, Sequence[str]]]:
    remarks = [("Warnings", comparison.warnings), ("Made with", comparison.versions)]
    return [(title, texts) for title, texts in remarks if texts]


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
