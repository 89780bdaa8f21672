"""The section of a training report on its maps: where they sit, and how far they moved."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.pictures.chart import (
    BLUE,
    GREEN,
    GREY,
    RED,
    Chart,
    in_percent,
    legend,
    small_chart,
    svg_picture,
)
from pipeline.pictures.page import figure_grid, html_figure, html_table
from pipeline.training.report_figures import Row, column
from pipeline.training.report_words import DASH, percent, ranges

MOVEMENT = {"rank_correlation": "rank correlation", "tv_distance": "total variation",
            "peaks_moved": "peaks moved"}  # fmt: skip
"""What the report calls the figures of a step from one generation to the next."""


def maps_section(metrics: Sequence[Row], summary: Mapping[str, Any]) -> str:
    """Return the section's content.

    Args:
        metrics: Rows of metrics.csv.
        summary: Content of summary.json; one of an older version has no movement.
    """
    generations = summary["generations"]
    if not generations:
        return "<p>No maps were used in this run.</p>"
    movement = summary.get("movement") or {"steps": []}
    charts = (pointing_chart(summary["pointing"]), movement_chart(movement))
    figures = [html_figure(chart) for chart in charts if chart is not None]
    heads, lines = _table(metrics, summary, movement)
    table = html_table(heads, lines, low=True)
    if len(figures) == 1:  # fills the row
        return _notes(summary, movement) + figure_grid([*figures, f"<figure>{table}</figure>"])
    return _notes(summary, movement) + figure_grid(figures) + table


def pointing_chart(pointing: Sequence[Row]) -> Chart | None:
    """Draw how often the most salient pixel lies on the object, by generation."""
    if not pointing:
        return None
    figure, axes = small_chart()
    numbers, shares, energies, lows, highs = (
        np.array([float(point[key]) for point in pointing])
        for key in ("generation", "share", "energy", "lower", "upper")
    )
    axes.errorbar(numbers, shares, [shares - lows, highs - shares], color=BLUE, marker="o",
                  markersize=4, linewidth=1.4, capsize=3, label="pointing game")  # fmt: skip
    axes.plot(numbers, energies, color=GREEN, marker="o", markersize=3, linewidth=1.2,
              label="energy on object")  # fmt: skip
    axes.axhline(float(pointing[-1]["chance"]), color=GREY, linestyle="--", linewidth=1.2,
                 label="chance")  # fmt: skip
    _generation_axis(axes, numbers.min(), numbers.max())
    axes.set_ylim(0, 1)
    in_percent(axes.yaxis)
    legend(axes, 2)
    return Chart(
        title="Do the maps sit on the objects?",
        caption="Pointing game: share of training images whose most salient pixel lies on the "
        "object, with 95 % interval. Energy: mean share of a map's sum on the object. Chance: the "
        "mean share of the image that the object covers.",
        picture=svg_picture(figure),
    )


def movement_chart(movement: Mapping[str, Any]) -> Chart | None:
    """Draw how far maps moved from each generation to the next; None without a step."""
    steps = movement["steps"]
    if not any("gap" not in step for step in steps):
        return None
    figure, axes = small_chart()
    numbers = column(steps, "after")
    lowest = 0.0
    for name, colour in zip(MOVEMENT, (BLUE, RED, GREY), strict=True):
        values = column(steps, name)
        lowest = min(lowest, float(np.nanmin(values, initial=0.0)))
        axes.plot(numbers, values, color=colour, marker="o", markersize=3.5, linewidth=1.4,
                  linestyle="--" if name == "peaks_moved" else "-", label=MOVEMENT[name],
                  clip_on=False)  # fmt: skip
    _mark_gaps(axes, steps)
    _generation_axis(axes, numbers.min(), numbers.max())
    axes.set_xlabel("generation, compared with the one before", fontsize=9)
    axes.set_ylim(1.1 * lowest, 1)
    legend(axes, 2)
    return Chart(
        title="How far do the maps move?",
        caption="Means over training images. Rank correlation of a map's cells, 1: in the same "
        "order. Total variation of the two densities of Eq. 4 at "
        f"λ = {movement['lambda']:.3g}, 0: the sampler does the same, 1: nothing in common. Peaks "
        f"moved: share of images whose highest cell is another.{_gap_note(steps)}",
        picture=svg_picture(figure),
    )


def _generation_axis(axes: Axes, first: float, last: float) -> None:
    axes.set_xlabel("generation", fontsize=9)
    axes.set_xlim(first - 0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))


def _mark_gaps(axes: Axes, steps: Sequence[Row]) -> None:
    for step in steps:
        if "gap" in step:
            axes.axvspan(step["after"] - 0.5, step["after"] + 0.5, color="#ececec", zorder=0)


def _gap_note(steps: Sequence[Row]) -> str:
    gaps = any("gap" in step for step in steps)
    return " Grey: one of the two could not be compared, see the table." if gaps else ""


def _notes(summary: Mapping[str, Any], movement: Mapping[str, Any]) -> str:
    notes = []
    if not summary["pointing"]:
        notes.append("Where the objects are is not known for this data: maps are not judged.")
    if len(summary["generations"]) == 1:
        notes.append("All epochs with maps drew from one generation: there is no movement to see.")
    elif movement["steps"]:
        notes.append(
            f"Movement is measured on {movement['num_sampled']:,} of the maps, the same ones in "
            "every generation."
        )
    return f"<p>{' '.join(notes)}</p>" if notes else ""


def _table(
    metrics: Sequence[Row], summary: Mapping[str, Any], movement: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """Return heads and rows of the table of generations."""
    steps = {step["after"]: step for step in movement["steps"]}
    points = {point["generation"]: point for point in summary["pointing"]}
    heads = ["generation", "weights after epoch", "used in epochs"]
    heads += [*MOVEMENT.values()] if steps else []
    heads += ["pointing game", "energy on object"] if points else []
    lines = []
    for made in summary["generations"]:
        number = made["number"]
        used = [row["epoch"] for row in metrics if row["generation"] == number]
        epoch = DASH if made["epoch"] is None else str(made["epoch"])
        cells = [str(number), epoch, ranges(used) or DASH]
        cells += _step_cells(steps.get(number, {})) if steps else []
        point = points.get(number, {})
        cells += [percent(point.get(key)) for key in ("share", "energy")] if points else []
        text = made.get("missing") or steps.get(number, {}).get("gap")
        last = escape(text) if text else f"<code>{made['digest'][:12]}</code>"
        shown = "".join(f"<td>{cell}</td>" for cell in cells)
        lines.append(f"<tr>{shown}<td>{last}</td></tr>")
    return [*heads, "digest"], lines


def _step_cells(step: Mapping[str, Any]) -> list[str]:
    ranks = step.get("rank_correlation")
    shown = DASH if ranks is None else f"{ranks:.2f}"
    return [shown, *(percent(step.get(key)) for key in ("tv_distance", "peaks_moved"))]
