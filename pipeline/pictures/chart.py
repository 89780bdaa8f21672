"""What all charts of the pages share: colours, size, axes and legend."""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.pictures.marks import data_uri, figure_svg

BLUE, RED, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#009e73", "#a8508c", "#767676"


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """One picture of the report."""

    title: str
    """What is shown."""
    caption: str
    """How to read it."""
    picture: str
    """Data URI of the SVG."""


def small_chart() -> tuple[Figure, Axes]:
    """Return a figure of the size that stands beside others, and its axes."""
    figure = Figure((4.1, 2.75), layout="constrained", facecolor="none")
    axes = figure.subplots()
    style(axes)
    return figure, axes


def style(axes: Axes) -> None:
    """Give axes the report's look."""
    axes.set_facecolor("none")  # the page's own ground, in light and dark
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5, color="#999999")


def legend(axes: Axes, columns: int) -> None:
    """Put the legend above the axes, where it hides nothing."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, fontsize=8.5,
                frameon=False, borderaxespad=0.2, handlelength=1.6, columnspacing=1.2)  # fmt: skip


def svg_picture(figure: Figure) -> str:
    """Return a figure as the data URI of an SVG."""
    return data_uri(figure_svg(figure), "svg+xml")
