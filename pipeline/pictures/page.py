"""What the HTML reports share: style, page, sections, figures."""

from collections.abc import Iterable, Sequence
from html import escape

from pipeline.pictures.chart import Chart

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #5f6368; --line: #dddddd;
  --back: #f6f7f8; --paper: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a5aab0; --line: #3c4043;
  --back: #25282c; --paper: #17191c; }
  /* Charts are drawn for white paper: turn their lightness round and keep their hues. */
  .charts img, .scroll > img { filter: invert(.9) hue-rotate(180deg); } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 20px 16px 48px; max-width: 1240px; color: var(--ink);
  background: var(--paper);
  font: 15px/1.45 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; overflow-wrap: anywhere; }
h2 { margin: 36px 0 12px; padding-bottom: 4px; font-size: 1.2rem;
  border-bottom: 2px solid var(--line); }
h3 { margin: 0 0 4px; font-size: 1rem; }
p, figcaption { margin: 4px 0 12px; color: var(--soft); max-width: 75ch; }
.facts { max-width: none; }
figure { margin: 0; min-width: 0; }
figcaption { margin: 4px 0 0; font-size: .85rem; }
img { display: block; max-width: 100%; height: auto; }
small { display: block; color: var(--soft); font-size: .78rem; font-weight: normal; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 10px;
  margin: 12px 0; }
.tiles div { padding: 10px 14px; border-radius: 8px; background: var(--back); }
.tiles dt { color: var(--soft); font-size: .85rem; }
.tiles dd { margin: 0; }
.tiles b { display: block; font-size: 1.55rem; font-weight: 650; line-height: 1.25; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr));
  gap: 28px 24px; }
.charts img { width: 100%; max-width: 480px; }
.scroll { overflow-x: auto; }
.low { max-height: 380px; overflow-y: auto; }
.scroll > img { width: 100%; min-width: 720px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.plain th, .plain td { padding: 5px 12px 5px 0; text-align: left; white-space: nowrap;
  font-size: .88rem;  border-bottom: 1px solid var(--line); }
.samples { width: 100%; table-layout: fixed; }
.samples th, .samples td { padding: 0 8px 12px 0; text-align: left; vertical-align: top;
  font-size: .88rem; overflow-wrap: anywhere; }
.samples tr > :first-child { position: sticky; left: 0; z-index: 1; background: var(--paper); }
.samples svg { max-width: 224px; margin-bottom: 3px; }
.marks { display: block; width: 100%; }
.marks rect { fill: none; stroke-width: 1.6; vector-effect: non-scaling-stroke; }
.marks .rim { stroke: black; stroke-opacity: .55; stroke-width: 3.6; }
.marks circle { stroke: black; stroke-width: 1; vector-effect: non-scaling-stroke; }
.sharp image, .sharp use { image-rendering: pixelated; }
@media (max-width: 700px) { .samples tr > :first-child { width: 104px; }
  .tiles { grid-template-columns: 1fr 1fr; } .tiles b { font-size: 1.3rem; } }
summary { cursor: pointer; color: var(--soft); }
pre { overflow-x: auto; padding: 14px; border-radius: 8px; background: var(--back);
  font-size: .85rem; }
"""


def html_page(title: str, sections: Sequence[str], *, style: str = "") -> str:
    """Return a whole HTML page that needs nothing else; `style` is added to what all share."""
    head = (
        "<meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style>"
    )
    body = "\n".join(sections)
    return f"<!DOCTYPE html>\n<html lang='en'><head>{head}</head>\n<body>\n{body}\n</body></html>\n"


def html_section(name: str, title: str, content: str) -> str:
    """Return a section with a heading; `name` is its id."""
    return f"<section id='{name}'><h2>{title}</h2>\n{content}\n</section>"


def html_figure(chart: Chart) -> str:
    """Return a chart with heading and caption."""
    title, caption = escape(chart.title), escape(chart.caption)
    return (
        f"<figure><h3>{title}</h3><img src='{chart.picture}' alt='{title}. {caption}'>"
        f"<figcaption>{caption}</figcaption></figure>"
    )


def figure_grid(figures: Iterable[str]) -> str:
    """Return figures beside each other, as many as fit."""
    return f"<div class='charts'>{''.join(figures)}</div>"
