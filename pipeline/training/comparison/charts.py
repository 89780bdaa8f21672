"""The charts of a comparison: accuracy of each row, and its difference to the chosen row."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.pictures.chart import BLUE, GREY, RED, Chart, legend, style, svg_picture
from pipeline.pictures.marks import legible
from pipeline.training.comparison.cells import METRIC_NAMES
from pipeline.training.comparison.tables import ComparedTable

__all__ = ["accuracy_chart", "difference_chart"]

LONGEST = 36
"""Characters of a label at most."""


def accuracy_chart(table: ComparedTable) -> Chart:
    """Draw each row's accuracy with its spread over seeds, beside the paper's and published."""
    metric = table.paper.metrics[0]
    axes = _axes(table)
    for position, row in enumerate(table.rows):
        elsewhere = ((row.known.paper, "D", GREY), (row.known.published, "s", RED))
        for known, marker, colour in elsewhere:
            if metric in known:
                axes.plot(known[metric], position, marker, color=colour, markersize=5,
                          markerfacecolor="white")  # fmt: skip
        found = row.figures.get(metric)
        if found is not None:
            axes.errorbar(found.mean, position, xerr=found.std, fmt="o", color=BLUE,
                          markersize=5, capsize=3, linewidth=1.4)  # fmt: skip
            _write(axes, f"{found.mean:.1f}", found.mean, position)
    _label_markers(axes, table, metric)
    axes.set_xlabel(f"{METRIC_NAMES[metric]} (%)", fontsize=9)
    caption = (
        "Last epoch's test accuracy; bars are one standard deviation over seeds. Rows without a "
        "dot have not been run."
    )
    return Chart(title="Accuracy", caption=caption, picture=svg_picture(_figure_of(axes)))


def difference_chart(table: ComparedTable) -> Chart | None:
    """Draw each row's paired difference to the chosen row; None where there is none."""
    metric = table.paper.metrics[0]
    if not any(metric in row.differences for row in table.rows):
        return None
    label = next(row.label for row in table.paper.rows if row.recipe == table.against)
    axes = _axes(table)
    axes.axvline(0, color=GREY, linewidth=1)
    for position, row in enumerate(table.rows):
        found = row.differences.get(metric)
        if found is None:
            continue
        half = None if found.high is None else found.high - found.mean
        axes.errorbar(found.mean, position, xerr=half, fmt="o", color=BLUE, markersize=5,
                      capsize=3, linewidth=1.4)  # fmt: skip
        _write(axes, f"{found.mean:+.1f}", found.mean, position)
    axes.set_xlabel(f"{METRIC_NAMES[metric]}, points", fontsize=9)
    caption = (
        "Mean difference, seed by seed; bars are Student's 95 % intervals and are left out with "
        "one seed."
    )
    picture = svg_picture(_figure_of(axes))
    return Chart(title=f"Difference to {label}", caption=caption, picture=picture)


def _axes(table: ComparedTable) -> Axes:
    labels = [legible(row.known.label, LONGEST) for row in table.rows]
    figure = Figure((5.2, 1.1 + 0.36 * len(labels)), layout="constrained", facecolor="none")
    axes = figure.subplots()
    style(axes)
    axes.set_yticks(range(len(labels)), labels, fontsize=8.5)
    for text in axes.get_yticklabels():
        text.set_parse_math(False)  # a run may be called $5
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(visible=True, axis="x", linewidth=0.5, alpha=0.5)
    return axes


def _write(axes: Axes, text: str, value: float, position: int) -> None:
    """Write a figure above its mark."""
    axes.annotate(text, (value, position), (0, 4), fontsize=7.5, ha="center", va="bottom",
                  textcoords="offset points")  # fmt: skip


def _label_markers(axes: Axes, table: ComparedTable, metric: str) -> None:
    """Put the marks that there are into the legend."""
    known = [row.known for row in table.rows]
    markers = (
        ("o", BLUE, "ours", True),
        ("D", GREY, "paper", any(metric in row.paper for row in known)),
        ("s", RED, "published", any(metric in row.published for row in known)),
    )
    for marker, colour, label, there in markers:
        if there:
            face = colour if label == "ours" else "white"
            axes.plot([], [], marker, color=colour, markersize=5, markerfacecolor=face, label=label)
    legend(axes, 3)


def _figure_of(axes: Axes) -> Figure:
    figure = axes.figure
    if not isinstance(figure, Figure):
        raise TypeError(f"axes belong to {type(figure).__name__}, not to a figure")
    return figure
