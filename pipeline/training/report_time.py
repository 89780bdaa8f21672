"""The section of a training report on where the time went, and what the method adds."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from cache_store.wording import counted
from pipeline.pictures.chart import (
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    RED,
    Chart,
    legend,
    small_chart,
    svg_picture,
)
from pipeline.pictures.page import Bar, figure_grid, html_bars, html_figure
from pipeline.training.accounts import PAPER
from pipeline.training.report_figures import Curve, Row, column, draw_line, finish_epochs
from pipeline.training.report_words import percent

SEPARATE_BARS = 60
"""More epochs are drawn without gaps between their bars."""


def time_section(metrics: Sequence[Row], summary: Mapping[str, Any]) -> str:
    """Return the section's content."""
    figures = [html_figure(chart) for chart in (time_chart(metrics),) if chart is not None]
    measured = summary.get("overhead")
    if measured is not None and measured["refresh"] is not None:
        figures.append(_overhead(measured))
    note = ""
    if not summary.get("repeatable", True):
        note = (
            "<p>This run can't be repeated: which epochs drew from which maps was a matter of time "
            '(refresh.adopt = "as-soon-as").</p>'
        )
    return note + figure_grid(figures)


def time_chart(metrics: Sequence[Row]) -> Chart | None:
    """Draw where each epoch's time went, its parts on top of one another; None without times."""
    epochs_E = column(metrics, "epoch")
    wait_E, refresh_E, evaluate_E = (
        np.nan_to_num(column(metrics, f"seconds_{name}"))
        for name in ("wait", "refresh", "evaluate")
    )
    steps_E = column(metrics, "seconds_train") - wait_E
    if not np.isfinite(steps_E).any():
        return None
    figure, axes = small_chart()
    bottom_E = np.zeros(len(epochs_E))
    width = 0.8 if len(epochs_E) <= SEPARATE_BARS else 1.0
    parts = (
        ("steps", BLUE, np.nan_to_num(steps_E)), ("data wait", RED, wait_E),
        ("maps", GREEN, refresh_E), ("evaluation", GREY, evaluate_E),
    )  # fmt: skip
    for name, colour, values_E in parts:
        axes.bar(epochs_E, values_E, width, bottom=bottom_E, color=colour, label=name, linewidth=0)
        bottom_E = bottom_E + values_E
    draw_line(axes, metrics, Curve("seconds_method", "method's code", PURPLE, dashed=True))
    harvests = np.nan_to_num(column(metrics, "seconds_harvest")).any()
    if harvests:
        draw_line(axes, metrics, Curve("seconds_harvest", "harvest", "black", dashed=True))
    legend(axes, 3)
    finish_epochs(axes, metrics, "time (s)")
    return Chart(
        title="Time of an epoch",
        caption="Seconds, on top of one another. The method's code is processor time of a "
        "process that makes batches: a part of the loading, which the loop waits for or not."
        + (" Harvest is processor time of the steps, for maps out of them." if harvests else ""),
        picture=svg_picture(figure),
    )


def _overhead(measured: Mapping[str, Any]) -> str:
    """Return bars of the overhead by R, the run's own first."""
    told = {int(interval): share for interval, share in measured["by_interval"].items()}
    longest = max(told.values()) or 1.0
    bars = [
        Bar(
            label=f"R = {interval}",
            note=_note(interval, own=interval == measured["interval"]),
            share=share / longest,
            number=percent(share),
            colour="blue" if interval == measured["interval"] else "grey",
        )
        for interval, share in sorted(told.items())
    ]
    method = escape(measured["method"])
    return (
        f"<figure><h3>Overhead of {method} by refresh interval</h3>{html_bars(bars)}"
        f"<figcaption>What {method} adds to the time of the plain steps: its own code, "
        f"{percent(measured['loader'], 2)} of them (none of it where the loop does not wait for "
        f"images), and a refresh, {percent(measured['refresh'])} of a plain epoch, every R epochs. "
        f"The paper says {PAPER}, without its R.</figcaption></figure>"
    )


def _note(interval: int, *, own: bool) -> str:
    every = "new maps each epoch" if interval == 1 else f"every {counted(interval, 'epoch')}"
    return f"{every}; this run" if own else every
