"""What the HTML reports share: page, sections, figures, tables, bars."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from pipeline.pictures.chart import Chart
from pipeline.pictures.page_style import STYLE

MANY_COLUMNS = 10
"""Tables of more columns are set in small letters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A horizontal bar with its number."""

    label: str
    """What it stands for."""
    note: str = ""
    """More about that, in small letters."""
    share: float | None
    """Its length as a share of the longest possible one, in [0, 1]; None: nothing is known."""
    number: str
    """What is written beside it."""
    colour: str
    """blue, green, red, purple or grey."""


def html_page(title: str, sections: Sequence[str], *, style: str = "") -> str:
    """Return a whole HTML page that needs nothing else; `style` is added to what all share."""
    head = (
        "<meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style>"
    )
    body = "\n".join(sections)
    return f"<!DOCTYPE html>\n<html lang='en'><head>{head}</head>\n<body>\n{body}\n</body></html>\n"


def html_head(title: str, facts: str, links: Mapping[str, str]) -> str:
    """Return the page's title, a line about it, and links to its sections by their ids."""
    anchors = "".join(f"<a href='#{name}'>{escape(text)}</a>" for name, text in links.items())
    return f"<h1>{escape(title)}</h1><p class='facts'>{escape(facts)}</p><nav>{anchors}</nav>"


def html_section(name: str, title: str, content: str) -> str:
    """Return a section with a heading; `name` is its id."""
    return f"<section id='{name}'><h2>{title}</h2>\n{content}\n</section>"


def html_figure(chart: Chart) -> str:
    """Return a chart with heading and caption."""
    return _figure(chart, _picture(chart))


def wide_figure(chart: Chart) -> str:
    """Return a chart as wide as the page; where it would become too small, it scrolls."""
    return _figure(chart, f"<div class='scroll'>{_picture(chart)}</div>")


def figure_grid(figures: Iterable[str]) -> str:
    """Return figures beside each other, as many as fit; nothing for none."""
    content = "".join(figures)
    return f"<div class='charts'>{content}</div>" if content else ""


def html_card(title: str, content: str) -> str:
    """Return a box with a small heading; `html_cards` puts several beside each other."""
    return f"<div class='card'><h3>{title}</h3>{content}</div>"


def html_cards(cards: Iterable[str]) -> str:
    """Return boxes beside each other, as many as fit, as wide as the page together."""
    return f"<div class='cards'>{''.join(cards)}</div>"


def html_bars(bars: Iterable[Bar]) -> str:
    """Return bars under one another, each with its label and number."""
    return f"<dl class='bars'>{''.join(map(_bar, bars))}</dl>"


def html_pairs(pairs: Mapping[str, str]) -> str:
    """Return names with what belongs to them, right-aligned; both are HTML."""
    lines = (f"<dt>{name}</dt><dd>{value}</dd>" for name, value in pairs.items())
    return f"<dl class='pairs'>{''.join(lines)}</dl>"


def html_table(heads: Sequence[str], lines: Iterable[str], *, low: bool = False) -> str:
    """Return a table that scrolls in its own box where it is wider than the page.

    Args:
        heads: Names of the columns.
        lines: Rows, `<tr>` and all.
        low: Whether it scrolls up and down too.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    dense = " dense" * (len(heads) > MANY_COLUMNS)
    return (
        f"<div class='scroll{' low' * low}'><table class='plain{dense}'>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _picture(chart: Chart) -> str:
    return f"<img src='{chart.picture}' alt='{escape(f'{chart.title}. {chart.caption}')}'>"


def _figure(chart: Chart, picture: str) -> str:
    title, caption = escape(chart.title), escape(chart.caption)
    return f"<figure><h3>{title}</h3>{picture}<figcaption>{caption}</figcaption></figure>"


def _bar(bar: Bar) -> str:
    note = f"<dd><small>{escape(bar.note)}</small></dd>" if bar.note else ""
    width = 100 * min(max(bar.share or 0.0, 0.0), 1.0)
    return (
        f"<div><dt>{escape(bar.label)}</dt><dd>{bar.number}</dd>"
        f"<dd class='bar'><i style='width:{width:.4g}%;background:var(--{bar.colour})'></i></dd>"
        f"{note}</div>"
    )
