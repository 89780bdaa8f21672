"""Draws the figures of `how-it-works.md` into a folder, by the code that they are about.

    .venv/bin/python -P docs/figures.py [FOLDER]        # left out: docs/figures

Each is an SVG with a transparent ground and colours that stand out from white and from black. What
is drawn comes from the policies and laws themselves; only boxes and their words are written here.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.ticker import FormatStrFormatter
from numpy.typing import NDArray

from cache_store.gains import gains_and_floors
from loaders import ScaePolicy, long_tail_counts, open_data, sample_centres
from loaders.lookup import SaliencyField
from loaders.policy import ErasingOptions
from loaders.view_batch import ViewBatch
from pipeline.pictures.chart import BLUE, GREEN, GREY, PURPLE, RED, legend, style
from pipeline.pictures.marks import HEAT, figure_svg
from pipeline.refresh.policy import RefreshPolicy

# H W pixels, h w cells of a map, n images of a class.

INK = {
    "text.color": GREY, "axes.labelcolor": GREY, "axes.edgecolor": GREY, "xtick.labelcolor": GREY,
    "ytick.labelcolor": GREY, "font.size": 9.0, "axes.labelsize": 9.0, "axes.titlesize": 9.0,
}  # fmt: skip
SIZE = 32
"""Side of the images of `shapes`."""
ROW = 1706
"""Row of the training set that MAP belongs to."""
MAP = np.array(
    [
        (0, 0, 0, 12, 19, 13, 7, 0),
        (4, 0, 0, 98, 116, 113, 22, 6),
        (4, 8, 20, 169, 209, 184, 16, 2),
        (3, 9, 9, 174, 255, 240, 67, 4),
        (3, 7, 5, 74, 31, 61, 1, 7),
        (3, 11, 0, 4, 0, 9, 23, 11),
        (2, 12, 14, 15, 16, 16, 28, 10),
        (1, 6, 9, 9, 9, 8, 15, 11),
    ],
    np.uint8,
)
"""Its map in generation 9 of `recipes/shapes.toml`, of the weights after epoch 35: (8, 8) uint8."""

GROUND = "#80808026"
"""Fill of boxes: a shade of whatever page lies under it."""


def data_flow() -> Figure:
    """The rooms, and what goes from one to the next."""
    figure, axes = _drawing(width=5.8, height=3.4, units=(58, 34))
    boxes = (
        ((1, 21, 21, 12), BLUE, "Training", ("steps, checkpoints,", "when maps are due")),
        ((36, 21, 21, 12), RED, "Refresh", ("blocks of rows, by a", "loop, Dask or an array job")),
        ((36, 1, 21, 12), GREEN, "Cache", ("generations of maps,", "whole or not at all")),
        ((1, 1, 21, 12), PURPLE, "Loader", ("workers draw centres,", "erase and mix")),
    )
    for place, colour, name, lines in boxes:
        _box(axes, place, colour, name, lines)
    _arrow(axes, (22, 29), (36, 29), "checkpoint")
    _arrow(axes, (46.5, 21), (46.5, 13), "shards, receipts", side=1)
    _arrow(axes, (36, 5), (22, 5), "maps, once\na node")
    _arrow(axes, (11.5, 13), (11.5, 21), "batches", side=1)
    axes.text(29, 17, "images", ha="center", va="center", color=GREY)
    _line(axes, (30, 18.5), (36, 23))
    _line(axes, (28, 15.5), (22, 11))
    return figure


def time_line() -> Figure:
    """Which maps each epoch draws from: made while training waits, and two epochs late."""
    epochs, interval = 20, 4
    policy = ScaePolicy(num_epochs=epochs, class_counts=(1,))
    figure = Figure((6.4, 2.5), layout="constrained", facecolor="none")
    axes = figure.subplots()
    rows = ((0, "inline"), (2, "dask, external:\nlag = 2"))
    for height, (lag, _) in zip((1, 0), rows, strict=True):
        plan = RefreshPolicy(num_epochs=epochs, interval=interval, lam=policy.lam, lag=lag)
        adopted = [plan.adopted_at(epoch) for epoch in plan.epochs()]
        ends = zip((0, *adopted), (*adopted, epochs), strict=True)
        for generation, (begin, end) in enumerate(ends):
            _drawn_from(axes, begin, end, height, generation)
        for made, begin in zip(plan.epochs(), adopted, strict=True):
            _made(axes, made + 1, begin, height)
    _frame_time_line(axes, epochs, [name for _, name in rows])
    return figure


def centre_law() -> Figure:
    """Eq. 4 on one image: where centres fall at several lambda."""
    image_HW3 = open_data("shapes").read(ROW)
    saliency_HW = _saliency()
    strengths = (-2.0, 0.0, 2.0, 8.0)
    figure = Figure((7.4, 1.75), layout="constrained", facecolor="none")
    cells = figure.subplots(1, 2 + len(strengths))
    _picture(cells[0], image_HW3, "image")
    _picture(cells[1], MAP / 255, "map, 8 x 8", cmap=HEAT)
    for axes, lam in zip(cells[2:], strengths, strict=True):
        weight_HW = np.exp(lam * saliency_HW)
        density_HW = weight_HW / weight_HW.mean()
        title = f"$\\lambda$ = {lam:g}\nup to {density_HW.max():.1f} x"
        _picture(axes, image_HW3, title)
        rng = np.random.Generator(np.random.Philox(7))
        maps_Bhw = np.repeat(MAP[None], 80, axis=0)
        centres_B2 = sample_centres(maps_Bhw, (SIZE, SIZE), lam, rng)
        x_B, y_B = centres_B2[:, 1] + 0.5, centres_B2[:, 0] + 0.5
        axes.scatter(x_B, y_B, s=7, c="white", edgecolors="black", linewidths=0.5)
    return figure


def erasing_probability() -> Figure:
    """Eq. 7 over class size, for the benchmark's largest class of 500 images."""
    n_K = np.arange(1, 501)
    figure, axes = _chart()
    for gamma, colour in ((0.25, PURPLE), (0.5, BLUE), (1.0, GREEN)):
        policy = ScaePolicy(num_epochs=1, class_counts=n_K.tolist(), gamma=gamma)
        name = f"$\\gamma$ = {gamma:g}" + (" (paper)" if gamma == ErasingOptions().gamma else "")
        axes.plot(n_K, policy.erase_probability, color=colour, label=name)
    counts_K = long_tail_counts(100, 500, 100).tolist()
    mean = ScaePolicy(num_epochs=1, class_counts=counts_K, class_aware=False, unaware_p="mean")
    axes.axhline(mean.erase_probability[0], color=RED, linestyle=":", label='"mean", $\\rho$ = 100')
    last = int(n_K[policy.is_tail].max())
    axes.axvspan(1, last, color="#8080801f", linewidth=0)
    axes.text(1.15, 0.53, "tail classes:\nmixed too", va="top")
    axes.set(xscale="log", xlim=(1, 500), ylim=(0, 0.55), ylabel="erasing probability $p_k$")
    axes.set_xlabel("training images of the class, $n_k$; largest class: 500")
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    legend(axes, 4)
    return figure


def curriculum() -> Figure:
    """Eq. 5 for the paper's 200 epochs, its controls, and where no new maps are made."""
    epochs = np.arange(200)
    figure, axes = _chart()
    scae = partial(ScaePolicy, num_epochs=len(epochs), class_counts=(1,))
    rows = (
        ("SCAE", BLUE, scae()),
        ("no curriculum", RED, scae(curriculum=False)),
        ("its mean", PURPLE, scae(curriculum=False, lambda_max=1.0)),
        ("protective", GREEN, scae(lambda_max=-2.0)),
    )
    for name, colour, policy in rows:
        axes.plot(
            epochs, [policy.lam(epoch) for epoch in epochs.tolist()], color=colour, label=name
        )
    axes.set(xlim=(0, 200), ylim=(-2.2, 2.2), xlabel="epoch $t$", ylabel="$\\lambda(t)$")
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    legend(axes, 4)
    return figure


def store_layout() -> Figure:
    """One generation from all rows down to one map, and the steps of publishing it."""
    figure, axes = _drawing(width=6.4, height=3.7, units=(64, 37))
    axes.text(1, 35, "generations/000007/saliency: (N, h, w) uint8", va="center", color=GREEN)
    for number in range(10):
        _cell(axes, (1 + 6.2 * number, 29, 5.8, 4), GREEN, filled=number == 3)
    axes.text(36.5, 26.5, "shards of 1,024 rows, one task each", va="center")
    for number in range(4):
        _cell(axes, (1 + 8.2 * number, 20, 7.8, 4), BLUE, filled=number == 1)
    _zoom(axes, (19.6, 25.4, 29), (1, 33.4, 24))
    axes.text(36.5, 22, "4 chunks of 256 rows", va="center")
    axes.imshow(MAP, cmap=HEAT, extent=(13, 20, 10.5, 17.5), interpolation="none", zorder=3)
    _zoom(axes, (9.2, 17, 20), (13, 20, 17.5))
    axes.text(36.5, 14, "row i: the map of sample i", va="center")
    steps = (
        ("shards and\nreceipts", BLUE),
        ("metadata", BLUE),
        ("manifest:\nchecksums", PURPLE),
        ("pointer", RED),
    )
    for number, (name, colour) in enumerate(steps):
        left = 1 + 16.3 * number
        _box(axes, (left, 3, 12.5, 5), colour, name, ())
        if number:
            _arrow(axes, (left - 3.8, 5.5), (left, 5.5), "")
    axes.text(1, 1.2, "readers see generation 6", va="center")
    axes.text(62.4, 1.2, "from here on 7", va="center", ha="right", color=RED)
    return figure


FIGURES: tuple[Callable[[], Figure], ...] = (
    data_flow,
    time_line,
    centre_law,
    erasing_probability,
    curriculum,
    store_layout,
)


def _saliency() -> NDArray[np.float64]:
    """Return A_hat of MAP over its whole image: (H, W) float64 in [0, 1]."""
    gains, floors = gains_and_floors(MAP[None], (SIZE, SIZE))
    views = ViewBatch.whole(1, (SIZE, SIZE))
    saliency_HW: NDArray[np.float64] = SaliencyField.build(MAP[None], gains, floors, views).dense()[
        0
    ]
    return saliency_HW


def _chart() -> tuple[Figure, Axes]:
    figure = Figure((6.0, 2.9), layout="constrained", facecolor="none")
    axes = figure.subplots()
    style(axes)
    axes.grid(axis="y", color="#8080804d", linewidth=0.8)
    return figure, axes


def _drawing(*, width: float, height: float, units: tuple[int, int]) -> tuple[Figure, Axes]:
    """Return a figure of so many inches, and axes of so many units without anything around."""
    figure = Figure((width, height), facecolor="none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, units[0]), ylim=(0, units[1]))
    axes.set_axis_off()
    return figure, axes


def _box(
    axes: Axes, place: tuple[float, float, float, float], colour: str, name: str,
    lines: Sequence[str],
) -> None:  # fmt: skip
    """Draw a box of left, bottom, width, height around its name and lines."""
    left, bottom, width, height = place
    shape = "round,pad=0,rounding_size=1"
    axes.add_patch(FancyBboxPatch((left, bottom), width, height, boxstyle=shape, facecolor=GROUND,
                                  edgecolor=colour, linewidth=1.5))  # fmt: skip
    middle, top = left + width / 2, bottom + height
    if not lines:
        axes.text(middle, bottom + height / 2, name, ha="center", va="center")
    else:
        axes.text(middle, top - 2.7, name, ha="center", va="center", weight="bold")
        for number, line in enumerate(lines):
            axes.text(middle, top - 6.2 - 2.9 * number, line, ha="center", va="center")


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], name: str, *, side: int = 0
) -> None:
    _line(axes, start, end, width=1.4)
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    if side:
        axes.text(x + side, y, name, ha="left", va="center")
    else:
        axes.text(x, y + 0.8, name, ha="center", va="bottom")


def _line(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], *, width: float = 0.9
) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=GREY,
                                   linewidth=width, shrinkA=1, shrinkB=1))  # fmt: skip


def _cell(
    axes: Axes, place: tuple[float, float, float, float], colour: str, *, filled: bool
) -> None:
    left, bottom, width, height = place
    fill = f"{colour}80" if filled else GROUND
    axes.add_patch(Rectangle((left, bottom), width, height, facecolor=fill, edgecolor=colour))


def _zoom(axes: Axes, above: tuple[float, float, float], below: tuple[float, float, float]) -> None:
    """Join the ends (left, right, height) of a part to those of its enlargement."""
    for end in range(2):
        axes.plot((above[end], below[end]), (above[2], below[2]), color=GREY, linewidth=0.7)


def _drawn_from(axes: Axes, begin: int, end: int, height: int, generation: int) -> None:
    colour = (GREY, BLUE, RED, GREEN, PURPLE)[generation]
    for epoch in range(begin, end):
        axes.add_patch(Rectangle((epoch + 0.03, height), 0.94, 0.45, linewidth=0, facecolor=colour))
    name = f"generation {generation}" if generation else "uniform"
    axes.text((begin + end) / 2, height + 0.21, name if end - begin > 2 else str(generation),
              ha="center", va="center", color="white", weight="bold", size=8)  # fmt: skip


def _made(axes: Axes, made: int, begin: int, height: int) -> None:
    """Mark the weights that maps are made from, and the epoch that begins with these maps."""
    axes.plot([made], [height + 0.62], marker="o", color=GREY, markersize=4)
    if begin > made:
        _line(axes, (made, height + 0.62), (begin, height + 0.48))


def _frame_time_line(axes: Axes, epochs: int, names: Sequence[str]) -> None:
    style(axes)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.set(xlim=(0, epochs), ylim=(-0.15, 1.8), xlabel="epoch")
    axes.set_xticks(np.arange(epochs) + 0.5, [str(epoch) for epoch in range(epochs)])
    axes.set_yticks((1.22, 0.22), names)
    axes.tick_params(left=False, bottom=False)


def _picture(axes: Axes, image: NDArray[np.generic], title: str, cmap: str | None = None) -> None:
    axes.imshow(image, extent=(0, SIZE, SIZE, 0), interpolation="none", cmap=cmap)
    axes.set_title(title)
    axes.set_axis_off()


def write_figures(folder: Path) -> list[Path]:
    """Draw all figures as SVG files into `folder` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for draw in FIGURES:
        path = folder / f"{draw.__name__}.svg"
        with rc_context(INK):  # type: ignore[arg-type]  # wants the literal names of all settings
            path.write_bytes(figure_svg(draw(), letters="none"))
        paths.append(path)
    return paths


if __name__ == "__main__":
    write_figures(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "figures")
