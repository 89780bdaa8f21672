"""A comparison as one HTML page that needs nothing else."""

from collections.abc import Sequence
from html import escape

from cache_store.wording import counted
from pipeline.pictures.page import (
    figure_grid,
    html_figure,
    html_head,
    html_page,
    html_section,
    html_table,
)
from pipeline.training.comparison.cells import DASH, cell_rows, column_names, table_notes
from pipeline.training.comparison.charts import accuracy_chart, difference_chart
from pipeline.training.comparison.missing import Missing
from pipeline.training.comparison.outcome import TITLE, Comparison, table_sources, table_title
from pipeline.training.comparison.tables import ComparedRow, ComparedTable

__all__ = ["html_text"]

OURS, DIFFERENCE = 4, 5
"""Places in `column_names` of the cells that are set off."""
OPEN_ITEMS = 3
"""Up to this many missing runs are shown without a click."""


def html_text(comparison: Comparison) -> str:
    """Return the comparison as one HTML page that needs nothing else."""
    titles, sections = {}, []
    for number, table in enumerate(comparison.tables):
        titles[f"table-{number}"] = table_title(table)
        sections.append(html_section(f"table-{number}", escape(table_title(table)), _table(table)))
    for title, items in comparison.lists().items():
        titles[_id(title)] = title
        sections.append(html_section(_id(title), title, _commands(items)))
    for title, texts in comparison.remarks().items():
        titles[_id(title)] = title
        entries = "".join(f"<p>{escape(text)}</p>" for text in texts)
        sections.append(html_section(_id(title), title, entries))
    facts = f"{counted(len(comparison.tables), 'table')} with runs"
    if comparison.untouched:
        facts += f", {counted(len(comparison.untouched), 'table')} without any yet"
    return html_page(TITLE, [html_head(TITLE, facts, titles), *sections])


def _id(title: str) -> str:
    return title.lower().replace(" ", "-")


def _table(table: ComparedTable) -> str:
    notes = "".join(f"<p>{escape(note)}</p>" for note in table_notes(table))
    if any(_sign(table, row) for row in table.rows):
        notes += "<p>A difference is green or red where its interval leaves out 0.</p>"
    best = _best(table)
    heads, rows = column_names(table), cell_rows(table)
    known = [place for place in range(len(heads)) if any(cells[place] != DASH for cells in rows)]
    lines = (
        _line([(place, cells[place]) for place in known], _sign(table, row), best=row is best)
        for cells, row in zip(rows, table.rows, strict=True)
    )
    sources = "<br>".join(escape(source) for source in table_sources(table))
    charts = [accuracy_chart(table), difference_chart(table)]
    return (
        notes
        + html_table([heads[place] for place in known], lines)
        + (f"<p><small>{sources}</small></p>" if sources else "")
        + figure_grid(html_figure(chart) for chart in charts if chart is not None)
    )


def _best(table: ComparedTable) -> ComparedRow | None:
    """Return the row of the highest mean, None where there is nothing to choose from."""
    metric = table.paper.metrics[0]
    found = [row for row in table.rows if metric in row.figures]
    return max(found, key=lambda row: row.figures[metric].mean) if len(found) > 1 else None


def _sign(table: ComparedTable, row: ComparedRow) -> str:
    """Return the class of a difference whose interval leaves out 0: up, down, or nothing."""
    found = row.differences.get(table.paper.metrics[0])
    if found is None or found.low is None or found.high is None:
        return ""
    return "up" if found.low > 0 else "down" if found.high < 0 else ""


def _line(cells: Sequence[tuple[int, str]], sign: str, *, best: bool) -> str:
    """Return a row of cells with their places; what no row knows has been left out."""
    classes = {OURS: "chosen" if best else "", DIFFERENCE: sign}
    shown = "".join(
        f"<td{_class(classes.get(place, ''))}>{escape(cell)}</td>" for place, cell in cells
    )
    return f"<tr{_class('none' if cells[-1][1] == 'none' else '')}>{shown}</tr>"


def _class(name: str) -> str:
    return f" class='{name}'" if name else ""


def _commands(items: Sequence[Missing]) -> str:
    """Return what is missing as one block to copy into a shell."""
    lines = "\n\n".join(f"# {item.what}\n{item.command}" for item in items)
    opened = " open" if len(items) <= OPEN_ITEMS else ""
    text = counted(len(items), "command makes it", "commands make them")
    return f"<details{opened}><summary>{text}</summary><pre>{escape(lines)}</pre></details>"
