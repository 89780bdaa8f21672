"""The charts of a training report over epochs, each an SVG picture.

Legend: E epochs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipeline.pictures.chart import (
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    RED,
    Chart,
    in_percent,
    legend,
    small_chart,
    svg_picture,
)

GROUP_COLOURS = {"many": BLUE, "medium": GREEN, "few": RED}
NAMED_CHANGES = 12
"""Up to this many changes of generation are labelled."""
MARKED_POINTS = 30
"""Curves of up to this many epochs show a point an epoch."""
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart."""

    column: str
    """Column of metrics.csv."""
    label: str
    """Its name in the legend."""
    colour: str
    """Its colour."""
    dashed: bool = False
    """Whether it is dashed."""


TRAIN, TEST = "train", "test"
LOSS = (Curve("train_loss", TRAIN, GREY, dashed=True), Curve("test_loss", TEST, BLUE))
ACCURACY = (Curve("train_top1", TRAIN, GREY, dashed=True), Curve("test_top1", TEST, BLUE))
GROUPS = tuple(Curve(f"test_{name}", name, colour) for name, colour in GROUP_COLOURS.items())
EVENTS = (
    Curve("erased", "erased images", BLUE),
    Curve("mixed", "mixed images", PURPLE),
    Curve("unguided", "erased without a map", RED),
    Curve("erased_pixels", "erased pixels", GREY, dashed=True),
)


def epoch_charts(metrics: Sequence[Row]) -> list[Chart]:
    """Return the charts over epochs; a chart without any value is left out."""
    specs = [
        ("Loss", "Cross entropy. Training images are erased and mixed, test images are not.",
         "loss (nats)", LOSS),
        ("Accuracy", "Top-1. That of training is on augmented images; blank if of several classes.",
         "top-1", ACCURACY),
        ("Accuracy by class size", "Top-1 on the test split, mean over each group's classes.",
         "top-1", GROUPS),
        ("Learning rate", "Set at the start of each epoch.", "learning rate",
         (Curve("lr", "", BLUE),)),
        ("Erasing and mixing", "Shares of the images seen, and mean share of their pixels erased. "
         "Without a map is a share of the erased.", "share", EVENTS),
    ]  # fmt: skip
    charts = [_curves(metrics, *spec) for spec in specs]
    charts.insert(3, _guidance(metrics))
    return [chart for chart in charts if chart is not None]


def _curves(
    metrics: Sequence[Row], title: str, caption: str, unit: str, curves: Sequence[Curve]
) -> Chart | None:
    known = [curve for curve in curves if np.isfinite(column(metrics, curve.column)).any()]
    if not known:
        return None
    figure, axes = small_chart()
    for curve in known:
        draw_line(axes, metrics, curve)
    if known[0].label:
        legend(axes, len(known) if len(known) <= 3 else 2)
    if unit in ("top-1", "share"):
        in_percent(axes.yaxis)
    finish_epochs(axes, metrics, unit)
    return Chart(title=title, caption=caption, picture=svg_picture(figure))


def _guidance(metrics: Sequence[Row]) -> Chart | None:
    """Draw lambda, and where the maps changed; None for a run that has neither."""
    generations = [row["generation"] for row in metrics]
    if not any(generations) and not any(row["lam"] for row in metrics):
        return None
    figure, axes = small_chart()
    draw_line(axes, metrics, Curve("lam", "", BLUE))
    changes = [
        (row["epoch"], row["generation"])
        for before, row in zip([0, *generations], metrics, strict=False)
        if row["generation"] != before
    ]
    for place, (epoch, generation) in enumerate(changes):
        axes.axvline(epoch - 0.5, color=RED, linewidth=0.9, linestyle=(0, (4, 2)))
        if place % -(-len(changes) // NAMED_CHANGES) == 0:
            axes.annotate(f"g{generation}", (epoch - 0.5, 1), (2, 3), fontsize=8, color=RED,
                          textcoords="offset points",
                          xycoords=axes.get_xaxis_transform())  # fmt: skip
    finish_epochs(axes, metrics, "λ")
    caption = "Guidance strength λ(t) of Eq. 5. " + (
        "Dashed: from here on, centres follow the maps of generation g."
        if changes
        else "No maps were used: centres are uniform whatever λ is."
    )
    return Chart(title="Guidance λ and generations", caption=caption, picture=svg_picture(figure))


def tau_chart(tau_norm: Row | None) -> Chart | None:
    """Draw accuracy by tau of the head's normalisation; None for a run without it."""
    if tau_norm is None or not tau_norm["curve"]:
        return None
    figure, axes = small_chart()
    points = tau_norm["curve"]
    taus = np.array([point["tau"] for point in points])
    for name, colour in {"top1": GREY, **GROUP_COLOURS}.items():
        shares = column(points, name)
        if np.isfinite(shares).any():
            axes.plot(taus, shares, color=colour, linewidth=1.4, label=name)
    if tau_norm["tau"] is not None:
        axes.axvline(tau_norm["tau"], color=GREY, linestyle="--", linewidth=1.2)
    axes.set_xlabel("τ", fontsize=9)
    axes.set_ylabel("top-1", fontsize=9)
    in_percent(axes.yaxis)
    legend(axes, 2)
    chosen = tau_norm["chosen_by"]
    return Chart(
        title="Accuracy by τ of the head's normalisation",
        caption="On the test split, and so not to choose τ by. "
        + (f"Dashed: the τ in use, by the {chosen}." if chosen else "None is in use."),
        picture=svg_picture(figure),
    )


def occlusion_chart(measured: Row | None) -> Chart | None:
    """Draw accuracy by erased area of the test images; None for a run that did not measure it."""
    if measured is None:
        return None
    figure, axes = small_chart()
    for name, colour in {"salient": RED, "random": GREY, "least": GREEN}.items():
        axes.plot(measured["shares"], measured[name], color=colour, marker="o", markersize=3,
                  linewidth=1.4, label=name)  # fmt: skip
    axes.set_xlabel("erased area", fontsize=9)
    axes.set_ylabel("top-1", fontsize=9)
    for axis in (axes.xaxis, axes.yaxis):
        in_percent(axis)
    legend(axes, 3)
    return Chart(
        title="Accuracy on occluded test images",
        caption="Images lose their most salient, a random or their least salient area, by Grad-CAM "
        "of this network and the true label.",
        picture=svg_picture(figure),
    )


def draw_line(axes: Axes, metrics: Sequence[Row], curve: Curve) -> None:
    """Draw a column of metrics.csv."""
    marker = "o" if len(metrics) <= MARKED_POINTS else ""
    axes.plot(column(metrics, "epoch"), column(metrics, curve.column), label=curve.label,
              color=curve.colour, linestyle="--" if curve.dashed else "-", linewidth=1.5,
              marker=marker, markersize=3.2, clip_on=False)  # fmt: skip


def finish_epochs(axes: Axes, metrics: Sequence[Row], unit: str) -> None:
    """Name the axes, whose horizontal one is of epochs, and choose their limits."""
    epochs_E = column(metrics, "epoch")
    axes.set_xlim(epochs_E.min() - 0.7, epochs_E.max() + 0.7)
    if axes.dataLim.y0 >= 0:
        axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlabel("epoch", fontsize=9)
    axes.set_ylabel(unit, fontsize=9)


def column(metrics: Sequence[Row], name: str) -> NDArray[np.float64]:
    """Return a column, (E,) float64, nan where it is empty."""
    values = [row.get(name) for row in metrics]
    return np.array([np.nan if value in (None, "") else float(value) for value in values])
