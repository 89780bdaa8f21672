"""What an epoch of training has summed: the figures of its row in metrics.csv, over all ranks."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from loaders.counters import EpochCounters, EpochReport
from loaders.scae_loader import ScaeLoader
from pipeline.training.ranks import Ranks
from pipeline.training.run_folder import Row

MOST_OVER_RANKS = ("seconds", "waited", "method")
"""Counted times: ranks run side by side, so theirs do not add up."""


@dataclass(slots=True)
class EpochSums:
    """Sums over an epoch's samples."""

    samples: int = 0
    loss: float = 0.0
    right: float | None = 0.0
    harvest: float = 0.0
    """Processor time of this rank's process for maps out of its steps."""

    def add(self, num: int, loss: float, right: float | None) -> None:
        """Add a batch's mean loss and number of right answers; None for mixed images."""
        self.samples += num
        self.loss += loss * num
        self.right = None if self.right is None or right is None else self.right + right

    def time_harvest(self, work: Callable[[], None]) -> None:
        """Do something for the sake of harvested maps, and count its processor time."""
        begun = time.process_time()
        work()
        self.harvest += time.process_time() - begun

    def as_row(self, seen: EpochReport, processes: int) -> Row:
        """Return the columns of metrics.csv that an epoch's loop and its loader know.

        Args:
            seen: What the loader has counted.
            processes: How many made its batches.
        """
        num = max(1, self.samples)
        by_group = seen.erased_pixels_by_group
        return {
            "train_loss": self.loss / num,
            "train_top1": None if self.right is None else self.right / num,
            "erased": seen.erased / num,
            "mixed": seen.mixed / num,
            "unguided": seen.unguided / max(1, seen.erased),
            "centre_saliency": seen.saliency,
            "erased_pixels": seen.erased_pixels,
            **{f"erased_pixels_{group}": share for group, share in by_group.items()},
            "images_per_second": self.samples / seen.seconds if seen.seconds else 0.0,
            "seconds_train": seen.seconds,
            "seconds_wait": seen.seconds_wait,
            "seconds_method": seen.seconds_method / processes,
            "seconds_harvest": self.harvest,
        }


def seen_so_far(sums: EpochSums, loader: ScaeLoader) -> dict[str, Any]:
    """Return what this rank has summed and counted, as plain numbers."""
    return {"sums": asdict(sums), "counted": loader.counted()}


def taken_up(loader: ScaeLoader, state: dict[str, Any], seen: dict[str, Any] | None) -> EpochSums:
    """Go on with an epoch that has begun.

    Args:
        loader: Is set to where the epoch was left.
        state: Where that is, from its `state_dict`.
        seen: From `seen_so_far` on this rank; None for a rank that has seen nothing.

    Returns:
        What this rank had summed.
    """
    seen = seen or {}
    loader.load_state_dict(state, seen.get("counted"))
    return EpochSums(**seen.get("sums", {}))


def epoch_row(sums: EpochSums, loader: ScaeLoader, ranks: Ranks) -> Row:
    """Return what training over all ranks adds to metrics.csv, on rank 0; nothing on the others."""
    seen = ranks.gathered(seen_so_far(sums, loader))
    if not seen:
        return {}
    whole = added_up(seen)
    counters = EpochCounters(loader.dataset.data, loader.epoch, loader.generation)
    counters.load_state_dict(whole["counted"])
    return EpochSums(**whole["sums"]).as_row(counters.report(), max(1, loader.num_workers))


def added_up(seen: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what several ranks have seen of one epoch as if one had."""
    whole: dict[str, Any] = _sum(seen)
    for name in MOST_OVER_RANKS:
        whole["counted"][name] = max(one["counted"][name] for one in seen)
    whole["sums"]["harvest"] = max(one["sums"].get("harvest", 0.0) for one in seen)
    return whole


def _sum(values: Sequence[Any]) -> Any:  # noqa: ANN401  # walks nested plain values
    first = values[0]
    if any(value is None for value in values):
        return None
    if isinstance(first, dict):
        return {name: _sum([value[name] for value in values]) for name in first}
    if isinstance(first, list):
        return [_sum(items) for items in zip(*values, strict=True)]
    return sum(values[1:], first)
