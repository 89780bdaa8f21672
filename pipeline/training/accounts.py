"""Where a run's time went, and what the method adds to the plain step.

Training, refreshes and evaluation are wall time. The method's own code (looking up maps, deciding,
placing, erasing, mixing, partners' loading included) is processor time, the mean over the processes
that make batches: as long as the loop would wait for it if it waited for all of it. Where worker
processes are ahead of the loop, it waits for none of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

INTERVALS = (1, 4, 10)
"""Epochs between refreshes, R, that the overhead is told for beside the run's own."""
PAPER = "about 8 %"
"""Additional training time that the paper gives for SCAE on ImageNet-1K, without its R."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overhead:
    """What the method adds to the time of plain steps; all are shares of that time."""

    loader: float
    """Its own code in the processes that make batches."""
    maps: float
    """What training stood still for maps, in all epochs together."""
    harvest: float
    """Maps out of its own steps: taking them back to whole images and merging them."""
    refresh: float | None
    """One refresh of all maps over one epoch of plain steps; None where training stood still for
    none."""
    interval: int
    """R of the run: epochs between refreshes; 0 for none."""

    def with_interval(self, interval: int) -> float:
        """Return the overhead with a refresh every `interval` epochs, 1 or more."""
        return self.loader + (self.refresh or 0.0) / interval

    def as_dict(self) -> dict[str, Any]:
        """Return it for summary.json: the run's own R comes first, then `INTERVALS`."""
        own = (self.interval,) if self.interval else ()
        told = () if self.refresh is None else tuple(dict.fromkeys((*own, *INTERVALS)))
        return {
            "loader": self.loader,
            "maps": self.maps,
            "harvest": self.harvest,
            "total": self.loader + self.maps + self.harvest,
            "refresh": self.refresh,
            "interval": self.interval,
            "by_interval": {str(interval): self.with_interval(interval) for interval in told},
        }


def seconds(row: Row, part: str) -> float:
    """Return an epoch's time for one part; 0 where an older version had not measured it."""
    return float(row.get(f"seconds_{part}") or 0.0)


def shares(row: Row) -> dict[str, float]:
    """Return columns of metrics.csv that follow from others: shares of the epoch's time, in [0, 1].

    Args:
        row: The other columns.
    """
    total = sum(seconds(row, part) for part in ("train", "refresh", "evaluate"))
    return {
        f"share_{part}": seconds(row, part) / total if total else 0.0
        for part in ("wait", "method", "refresh")
    }


def overhead(rows: Sequence[Row], interval: int, *, inline: bool) -> Overhead | None:
    """Return what the first stage's method has added to its plain steps.

    Args:
        rows: The run's epochs.
        interval: R, 0 for no refreshes.
        inline: Whether training stands still as long as a refresh takes.

    Returns:
        None if no time was measured, or not by every epoch: a run that an older version began.
    """
    first = [row for row in rows if row["stage"] == 1]
    if any(row.get("seconds_method") is None for row in first):
        return None
    code = sum(row["seconds_method"] for row in first)
    # What the loop can have waited for of the method's code is no part of the plain step.
    in_loop = sum(min(row["seconds_method"], row["seconds_wait"]) for row in first)
    harvest = sum(row.get("seconds_harvest") or 0.0 for row in first)
    plain = sum(row["seconds_train"] for row in first) - in_loop - harvest
    if plain <= 0:
        return None
    refreshes = [row["seconds_refresh"] for row in first if inline and row["refresh"] == "yes"]
    mean = sum(refreshes) / len(refreshes) if refreshes else None
    return Overhead(
        loader=code / plain,
        maps=sum(row["seconds_refresh"] for row in first) / plain,
        harvest=harvest / plain,
        refresh=None if mean is None else mean / (plain / len(first)),
        interval=interval,
    )


def overhead_lines(measured: Mapping[str, Any]) -> list[str]:
    """Return what summary.json says of the overhead as lines for the user."""
    line = f"overhead   {measured['method']}'s code {measured['loader']:.2%} of the plain steps"
    if measured.get("harvest"):
        line += f", harvest {measured['harvest']:.2%}"
    if measured["maps"]:
        line += f", maps {measured['maps']:.1%}, together {measured['total']:.1%}"
    if measured["refresh"] is None:
        return [line]
    told = f"a refresh takes {measured['refresh']:.1%} of a plain epoch: {interval_text(measured)}"
    return [line, f"{'':10} {told} (the paper: {PAPER})"]


def interval_text(measured: Mapping[str, Any]) -> str:
    """Return what summary.json says of the overhead by R, as a part of a sentence."""
    told = measured["by_interval"].items()
    return ", ".join(f"{share:.1%} with R = {interval}" for interval, share in told)
