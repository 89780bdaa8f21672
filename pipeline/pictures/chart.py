"""What all charts of the pages share: colours, size, axes and legend."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter

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


class PercentFormatter(Formatter):
    """Writes shares as percent, with as many digits as the axis' ticks need: 35 %, or 2.5 %."""

    def __call__(self, value: float, _place: int | None = None) -> str:
        """Return one share."""
        return self.format_ticks([value])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return the labels of all ticks."""
        percents = [100 * value for value in values]
        digits = next(
            (d for d in range(4) if all(abs(round(p, d) - p) < 1e-6 for p in percents)), 4
        )
        return [f"{percent:.{digits}f} %" for percent in percents]


def in_percent(axis: Axis) -> None:
    """Label an axis of shares in percent."""
    axis.set_major_formatter(PercentFormatter())


def legend(axes: Axes, columns: int) -> None:
    """Put the legend above the axes, where it hides nothing."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, fontsize=8.5,
                frameon=False, borderaxespad=0.2, handlelength=1.6, columnspacing=1.2)  # fmt: skip


def svg_picture(figure: Figure) -> str:
    """Return a figure as the data URI of an SVG."""
    return data_uri(figure_svg(figure), "svg+xml")
