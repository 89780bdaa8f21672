"""The page of `scae preview`: the panels of its PNG for any width of a window.

Legend: S side of an image in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from pipeline.pictures.layers import svg_layer, svg_open, svg_rectangles
from pipeline.pictures.marks import (
    HEAT,
    RATIOS,
    SMALL,
    colour_stops,
    data_uri,
    heat_rgba,
    image_png,
    image_uri,
    ratio_rgb,
)
from pipeline.pictures.page import html_page
from pipeline.pictures.preview_panel import Panel, Strength, density_limit
from pipeline.pictures.preview_words import (
    PREVIEW_LINES,
    PreviewWords,
    density_ends,
    lambda_text,
    mean_text,
)

STYLE = """
p { overflow-wrap: anywhere; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 470px), 1fr));
  gap: 28px 32px; }
.panels + .panels { margin-top: 32px; }
.panel { display: grid; grid-template-columns: minmax(0, 9fr) minmax(0, 20fr); gap: 6px 14px;
  align-content: start; max-width: 760px; }
.panel h3 { grid-column: 1 / -1; margin: 0; overflow-wrap: anywhere; }
.panel figure { position: relative; }
.panel figcaption { margin: 0 0 2px; color: var(--ink); }
.sides { display: flex; flex-direction: column; gap: 10px; }
.lambdas { width: 100%; table-layout: fixed; }
.lambdas th { padding: 0 4px 2px 0; font-size: .85rem; font-weight: normal; text-align: left;
  vertical-align: bottom; }
.lambdas th:first-child { width: 22px; padding: 0; color: var(--soft); vertical-align: middle; }
.lambdas tbody th span { display: block; margin: auto; writing-mode: vertical-rl;
  transform: rotate(180deg); white-space: nowrap; }
.lambdas td { position: relative; padding: 0 4px 4px 0; vertical-align: top; }
.lambdas td img { width: 100%; }
.even { position: absolute; inset: 0 4px 4px 0; display: grid; place-items: center; color: #5f6368;
  font-size: .78rem; }
.hard { image-rendering: pixelated; }
.faded { filter: saturate(.35); }
.grey { filter: grayscale(1); }
.badge { position: absolute; inset: auto 0 8px; margin: auto; width: fit-content; padding: 1px 8px;
  color: white; background: #222222; }
.scales { display: flex; flex-wrap: wrap; gap: 4px 28px; padding: 0; }
.shades { display: inline-block; width: 96px; height: 10px; margin: 0 6px; }
@media (max-width: 560px) { .panel { grid-template-columns: minmax(0, 1fr); }
  .sides { flex-direction: row; } .sides figure { flex: 1; } }
"""

NARROWEST = 64
"""Least width in pixels of a lambda's column; beyond that the table scrolls."""


def preview_page(samples: Sequence[Sequence[Panel]], words: PreviewWords) -> str:
    """Return the page of samples, each with a panel a generation.

    Args:
        samples: For each sample its panels, one a generation; all as many, at least one.
        words: What the page says about itself.
    """
    limit = density_limit([panel for panels in samples for panel in panels])
    drawn = [
        [_PanelHtml(panel, f"{place}-{side}", limit).text() for side, panel in enumerate(panels)]
        for place, panels in enumerate(samples)
    ]
    if len(samples[0]) == 1:  # samples stand beside each other, else generations do
        drawn = [[panel for panels in drawn for panel in panels]]
    facts = "".join(f"<p class='facts'>{escape(fact)}</p>" for fact in words.facts)
    notes = "".join(f"<p>{escape(note)}</p>" for note in words.notes)
    sections = [f"<h1>{escape(words.title)}</h1>{facts}{notes}{_scales(limit)}"]
    sections += [f"<section class='panels'>{''.join(panels)}</section>" for panels in drawn]
    return html_page(words.title, sections, style=STYLE)


def _scales(limit: float) -> str:
    low, high = density_ends(limit)
    return (
        f"<p class='scales'><span>map Â: 0{_bar(HEAT)}1</span>"
        f"<span>P(i, j): {low}{_bar(RATIOS)}{high}</span></p>"
    )


def _bar(colours: str) -> str:
    stops = ", ".join(colour_stops(colours))
    return f"<span class='shades' style='background:linear-gradient(to right, {stops})'></span>"


@dataclass(frozen=True, slots=True)
class _PanelHtml:
    """Writes one panel; `name` tells its image from others on the page."""

    panel: Panel
    name: str
    limit: float

    def text(self) -> str:
        panel = self.panel
        facts = f"row {panel.row} · {panel.source} · id {panel.sample_id:016x}"
        maker = f"generation {panel.generation}: p = {panel.probability:.2f}"
        return (
            f"<article class='panel'><h3>{escape(panel.class_name)}"
            f"<small>{escape(facts)} · {maker}</small></h3>"
            f"<div class='sides'>{self._image()}{self._map()}</div>{self._table()}</article>\n"
        )

    def _image(self) -> str:
        """Embed the image, which the other cells refer to."""
        size = len(self.panel.image)
        layer = svg_layer(image_uri(self.panel.image), size, name=f"image-{self.name}")
        label = escape(self.panel.class_name, quote=True)
        picture = f"{svg_open(size, name=label)}{layer}</svg>"
        return f"<figure><figcaption>image</figcaption>{picture}</figure>"

    def _map(self) -> str:
        size = len(self.panel.image)
        heat = svg_layer(data_uri(image_png(heat_rgba(self.panel.saliency)), "png"), size)
        layers = self._again("faded") + ("" if self.panel.flat else heat)
        badge = "<span class='badge'>flat map: uniform</span>" if self.panel.flat else ""
        picture = f"{svg_open(size, name='saliency map over the image')}{layers}</svg>"
        return f"<figure><figcaption>map Â</figcaption>{picture}{badge}</figure>"

    def _again(self, kind: str) -> str:
        return f"<use href='#image-{self.name}' class='{kind}'/>"

    def _table(self) -> str:
        strengths = self.panel.strengths
        heads = "".join(f"<th scope='col'>{_head(strength)}</th>" for strength in strengths)
        lines = [f"<thead><tr><th></th>{heads}</tr></thead><tbody>"]
        for name, cell in zip(
            PREVIEW_LINES, (self._density, self._rectangles, self._erased), strict=True
        ):
            cells = "".join(f"<td>{cell(strength)}</td>" for strength in strengths)
            lines.append(f"<tr><th scope='row'><span>{name}</span></th>{cells}</tr>")
        width = NARROWEST * len(strengths)
        table = f"<table class='lambdas' style='min-width:{width}px'>{''.join(lines)}</tbody>"
        return f"<div class='scroll'>{table}</table></div>"

    def _density(self, strength: Strength) -> str:
        low, high = strength.density.min(), strength.density.max()
        words = "uniform" if strength.uniform else f"{low:.2f} to {high:.2f} times uniform"
        address = data_uri(image_png(ratio_rgb(strength.density, self.limit)), "png")
        picture = self._picture(address, f"P(i, j) at λ = {lambda_text(strength.lam)}: {words}")
        return picture + ("<span class='even'>uniform</span>" if strength.uniform else "")

    def _rectangles(self, strength: Strength) -> str:
        size = len(self.panel.image)
        label = f"{len(strength.boxes)} rectangles at λ = {lambda_text(strength.lam)}"
        marks = svg_rectangles(strength.boxes, strength.centres, radius=size / 32)
        return f"{svg_open(size, name=label)}{self._again('grey')}{marks}</svg>"

    def _erased(self, strength: Strength) -> str:
        alt = f"input with a rectangle erased at λ = {lambda_text(strength.lam)}"
        return self._picture(image_uri(strength.erased), alt)

    def _picture(self, address: str, alt: str) -> str:
        hard = " class='hard'" if len(self.panel.image) <= SMALL else ""
        return f"<img src='{address}' alt='{alt}' title='{alt}'{hard}>"


def _head(strength: Strength) -> str:
    return f"λ = {lambda_text(strength.lam)}<small>{mean_text(strength)}</small>"
