"""The chart of a training report that shows every class: its size, its erasing, its accuracy.

Legend: K classes.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from loaders.class_groups import class_groups
from loaders.policy import ScaePolicy
from pipeline.pictures.chart import PURPLE, Chart, in_percent, legend, style, svg_picture
from pipeline.pictures.marks import legible
from pipeline.training.report_figures import GROUP_COLOURS

NAMED_CLASSES = 40
"""Up to this many classes are named under their bars."""
SEPARATE_BARS = 120
"""More classes are drawn as one outline, which keeps the file small."""
LOGARITHMIC = 20
"""A chart of class sizes whose extremes differ by this factor has a logarithmic axis."""


def class_chart(
    class_counts: NDArray[np.int64],
    class_names: Sequence[str],
    policy: ScaePolicy | None,
    per_class: Sequence[float | None],
) -> Chart:
    """Draw n_k, p_k and accuracy of every class under one another, the largest class first.

    Args:
        class_counts: (K,) int64, n_k of Eq. 6.
        class_names: K names.
        policy: Gives p_k; None leaves that panel out.
        per_class: K accuracies in [0, 1] or None; empty leaves that panel out.
    """
    order_K = np.argsort(-class_counts, kind="stable")
    panels = {"images $n_k$": class_counts[order_K].astype(float)}
    if policy is not None:
        panels["erasing $p_k$"] = policy.erase_probability[order_K]
    if len(per_class):
        accuracy_K = np.array([np.nan if value is None else value for value in per_class])
        panels["test top-1"] = accuracy_K[order_K]
    groups = {name: mask[order_K] for name, mask in class_groups(class_counts).items()}
    figure = Figure((11.2, 0.9 + 1.45 * len(panels)), layout="constrained", facecolor="none")
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, values_K) in zip(all_axes, panels.items(), strict=True):
        _panel(axes, label, values_K, groups)
    if class_counts.max() > LOGARITHMIC * max(1, class_counts.min()):
        _logarithmic(all_axes[0], float(class_counts.min()))
    legend(all_axes[0], 3)
    if policy is not None and policy.is_tail.any():
        _mark_tail(all_axes[1], int(policy.is_tail.sum()), len(class_counts))
    _name_classes(all_axes[-1], [class_names[label] for label in order_K])
    return Chart(
        title="Classes, the largest first",
        caption=_class_caption(policy, has_accuracy=bool(len(per_class))),
        picture=svg_picture(figure),
    )


def _panel(
    axes: Axes, label: str, values_K: NDArray[np.float64], groups: dict[str, NDArray[np.bool_]]
) -> None:
    style(axes)
    axes.set_ylabel(label, fontsize=9)
    for name, mask_K in groups.items():
        if mask_K.any():
            _bars(axes, values_K, mask_K, GROUP_COLOURS[name], name)
    if not label.startswith("images"):
        in_percent(axes.yaxis)


def _logarithmic(axes: Axes, lowest: float) -> None:
    axes.set_yscale("log")
    axes.set_ylim(bottom=max(0.5, lowest / 2))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:,.0f}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _class_caption(policy: ScaePolicy | None, *, has_accuracy: bool) -> str:
    parts = ["Training images of each class"]
    if policy is not None:
        parts.append("probability that an image of it is erased (Eq. 7)")
    if has_accuracy:
        parts.append("accuracy on its test images at the end")
    return "; ".join(parts) + (". SCAE is off in this run." if policy is None else ".")


def _bars(
    axes: Axes, values_K: NDArray[np.float64], mask_K: NDArray[np.bool_], colour: str, label: str
) -> None:
    places_K = np.arange(len(values_K))
    heights_K = np.nan_to_num(values_K)
    if len(values_K) <= SEPARATE_BARS:
        axes.bar(places_K[mask_K], heights_K[mask_K], 0.8, color=colour, label=label)
    else:
        axes.fill_between(places_K, heights_K, where=mask_K.tolist(), step="mid", color=colour,
                          linewidth=0, label=label)  # fmt: skip


def _mark_tail(axes: Axes, num_tail: int, num_classes: int) -> None:
    """Shade the tail classes, which are the last ones."""
    axes.axvspan(num_classes - num_tail - 0.5, num_classes - 0.5, color="#f3e3ee", zorder=0)
    axes.text(num_classes - 0.7, 0.96, "tail classes: MixUp too", ha="right", va="top",
              fontsize=8.5, color=PURPLE, transform=axes.get_xaxis_transform())  # fmt: skip


def _name_classes(axes: Axes, names: Sequence[str]) -> None:
    axes.set_xlim(-0.8, len(names) - 0.2)
    if len(names) > NAMED_CLASSES:
        axes.set_xlabel("class, by number of training images", fontsize=9)
        return
    shown = [legible(name, 16) for name in names]
    axes.set_xticks(range(len(names)), shown, rotation=40, ha="right", rotation_mode="anchor")
    for text in axes.get_xticklabels():
        text.set_parse_math(False)  # a class may be called $5
