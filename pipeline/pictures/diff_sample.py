"""What the picture of a comparison shows, however it is drawn.

Legend: S side of an image in pixels.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pipeline.pictures.chart import BLUE, RED
from pipeline.refresh.compare import RANK_RANGE, TV_RANGE, MapComparison, SampleDifference


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffWords:
    """Texts that hold for the whole comparison."""

    title: str
    """What is compared."""
    facts: tuple[tuple[str, str], ...]
    """What was found: names and texts."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class MovedSample:
    """A sample whose map moved much."""

    difference: SampleDifference
    """How far."""
    name: str | None
    """Its class and file, if they are known."""
    image: NDArray[np.uint8] | None
    """(S, S, 3) uint8 RGB, if it is known."""
    first: NDArray[np.float64]
    """(S, S) float64, A_hat by the first map, in [0, 1]."""
    second: NDArray[np.float64]
    """The same by the second map."""

    @property
    def title(self) -> str:
        """Return what to call it."""
        return self.name or f"id {self.difference.sample_id:016x}"

    @property
    def figures(self) -> str:
        """Return how far its map moved."""
        one = self.difference
        order = one.rank_correlation
        ranks = "flat" if order is None else f"ranks {_number(order)}"
        return f"TV {one.tv_distance:.2f} · {ranks}{' · peak moved' if one.peak_moved else ''}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """How a figure is spread over the samples."""

    title: str
    """The figure."""
    caption: str
    """How to read it."""
    counts: tuple[int, ...]
    """Samples a bin."""
    reach: tuple[float, float]
    """From the first bin to the end of the last one."""
    mean: float | None
    """Mean over the samples, None if there is none."""

    def draw(self, axes: Axes) -> None:
        """Draw bars and the mean into axes that have their look."""
        low, high = self.reach
        edges = np.linspace(low, high, len(self.counts) + 1)
        axes.bar(edges[:-1], self.counts, np.diff(edges), align="edge", color=BLUE, linewidth=0)
        if self.mean is not None:
            axes.axvline(self.mean, color=RED, linewidth=1.6)
        axes.set_xlim(low, high)
        axes.set_ylabel("samples", fontsize=8.5)


def histograms(found: MapComparison) -> tuple[Histogram, Histogram]:
    """Return the spread of ranks and of densities."""
    ranks = found.rank_correlation
    return (
        Histogram(
            title="Rank correlation"
            + ("" if ranks is None else f", mean {ranks:.2f}".replace("-", "\N{MINUS SIGN}")),
            caption="Spearman's, of the maps' cells: 1 same order, 0 unrelated.",
            counts=found.rank_counts,
            reach=RANK_RANGE,
            mean=ranks,
        ),
        Histogram(
            title=f"Total variation at λ = {found.lam:g}, mean {found.tv_distance:.2f}",
            caption="Between densities of Eq. 4: 0 the same, 1 nothing shared.",
            counts=found.tv_counts,
            reach=TV_RANGE,
            mean=found.tv_distance,
        ),
    )


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
