"""The page of a comparison: histograms, and the samples that moved most.

Legend: S side of an image in pixels.
"""

from collections.abc import Sequence
from html import escape

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.pictures.chart import Chart, small_chart, svg_picture
from pipeline.pictures.diff_sample import DiffWords, Histogram, MovedSample, histograms
from pipeline.pictures.layers import svg_layer, svg_open
from pipeline.pictures.marks import data_uri, heat_rgba, image_png, image_uri
from pipeline.pictures.page import figure_grid, html_figure, html_page, html_section
from pipeline.refresh.compare import MapComparison

STYLE = """
.found { margin-top: 10px; }
.found th, .found td { padding: 2px 18px 2px 0; text-align: left; vertical-align: top;
  font-weight: normal; overflow-wrap: anywhere; }
.found th { color: var(--soft); white-space: nowrap; }
.moved { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr));
  gap: 24px 28px; }
.moved h3 { overflow-wrap: anywhere; }
.maps { display: flex; gap: 6px; }
.maps figure { flex: 1; max-width: 224px; }
.maps figcaption { margin: 0 0 2px; color: var(--ink); }
.faded { filter: saturate(.35); }
"""


def diff_page(found: MapComparison, moved: Sequence[MovedSample], words: DiffWords) -> str:
    """Return the page of a comparison.

    Args:
        found: The comparison.
        moved: Samples to show.
        words: What the page says about itself.
    """
    lines = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{escape(text)}</td></tr>"
        for name, text in words.facts
    )
    facts = f"<table class='found'><tbody>{lines}</tbody></table>"
    charts = figure_grid(html_figure(_chart(one)) for one in histograms(found))
    sections = [
        f"<h1>{escape(words.title)}</h1>{facts}",
        html_section("spread", "All samples", charts),
    ]
    if moved:
        articles = "".join(_article(sample, place) for place, sample in enumerate(moved))
        grid = f"<div class='moved'>{articles}</div>"
        sections.append(html_section("moved", "Samples whose maps moved most", grid))
    return html_page(words.title, sections, style=STYLE)


def _chart(histogram: Histogram) -> Chart:
    figure: Figure
    figure, axes = small_chart()
    histogram.draw(axes)
    return Chart(title=histogram.title, caption=histogram.caption, picture=svg_picture(figure))


def _article(sample: MovedSample, place: int) -> str:
    one, size = sample.difference, len(sample.first)
    pictures, ground = [], ""
    if sample.image is not None:
        layer = svg_layer(image_uri(sample.image), size, name=f"moved-{place}")
        pictures.append(_picture("image", layer, size))
        ground = f"<use href='#moved-{place}' class='faded'/>"
    for name, saliency in (("map A", sample.first), ("map B", sample.second)):
        pictures.append(_picture(name, ground + _heat(saliency), size))
    rows = f"rows {one.first_row} and {one.second_row} · id {one.sample_id:016x}"
    return (
        f"<article><h3>{escape(sample.title)}<small>{sample.figures}</small>"
        f"<small>{rows}</small></h3><div class='maps'>{''.join(pictures)}</div></article>\n"
    )


def _heat(saliency: NDArray[np.float64]) -> str:
    return svg_layer(data_uri(image_png(heat_rgba(saliency)), "png"), len(saliency))


def _picture(name: str, layers: str, size: int) -> str:
    return (
        f"<figure><figcaption>{name}</figcaption>{svg_open(size, name=name)}{layers}</svg></figure>"
    )
