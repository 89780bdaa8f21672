"""What an epoch's batches were like: counted as they are delivered, for the log and the report.

Legend: B samples of a batch, N samples of the data set, G groups of classes, E kinds of events.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.batches import Batch
from loaders.class_groups import GROUPS, class_groups
from loaders.image_data import ImageData
from loaders.policy import Event


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochReport:
    """An epoch as this process has seen it, as far as it has been delivered."""

    epoch: int
    """0-based epoch."""
    generation: int
    """Generation that the maps came from, 0 for none."""
    samples: int
    """Samples delivered."""
    erased: int
    """Of these, erased."""
    mixed: int
    """Of these, blended with another image, or with a rectangle of one."""
    unguided: int
    """Of the erased, those with a uniform centre for lack of a map or because it is flat."""
    saliency: float | None
    """Mean A_hat at the other erased ones' centres, in [0, 1]; None where there is none."""
    erased_pixels: float
    """Mean erased share of a sample's pixels, in [0, 1]."""
    erased_pixels_by_group: dict[str, float | None]
    """The same for samples of many, medium and few classes; None for a group without samples."""
    seconds: float
    """Wall time since the first batch was asked for, until the last one was given back."""
    seconds_wait: float
    """Part of it in which the loop waited for the loader."""
    seconds_method: float
    """Processor time of the loader's processes, together, in the method's own code."""

    @property
    def wait_share(self) -> float:
        """Share of the time in which the loop waited for data, in [0, 1]."""
        return self.seconds_wait / self.seconds if self.seconds else 0.0

    @property
    def text(self) -> str:
        """One line for the log."""
        num = max(1, self.samples)
        parts = [
            f"epoch {self.epoch}: {self.samples} samples",
            f"erased {self.erased / num:.1%}",
            f"mixed {self.mixed / num:.1%}",
            f"without a map {self.unguided / max(1, self.erased):.1%} of the erased",
        ]
        if self.saliency is not None:
            parts.append(f"mean A_hat at centres {self.saliency:.3f}")
        groups = self.erased_pixels_by_group.items()
        shares = ", ".join(f"{name} {share:.1%}" for name, share in groups if share is not None)
        parts.append(f"erased pixels {self.erased_pixels:.1%} ({shares})")
        parts.append(f"data wait {self.wait_share:.1%}")
        parts.append(f"method {self.seconds_method / num * 1e6:.1f} us a sample")
        return ", ".join(parts)


SUMS = (
    "events_E", "unguided", "saliency", "guided", "samples_G", "share_G", "seconds", "waited",
    "method",
)  # fmt: skip
"""Fields of the counters that grow, and that a checkpoint in the middle of an epoch keeps."""


class EpochCounters:
    """Sums over the batches of one epoch.

    Args:
        data: Says which class, and so which group, a sample belongs to.
        epoch: 0-based epoch.
        generation: Generation that the maps come from, 0 for none.
    """

    def __init__(self, data: ImageData, epoch: int, generation: int) -> None:
        self._epoch, self._generation = epoch, generation
        self._labels_N = data.labels
        groups = class_groups(data.class_counts)
        self._group_K = np.argmax(np.stack([groups[name] for name in GROUPS]), axis=0)
        self._events_E = np.zeros(len(Event), np.int64)
        self._unguided = 0
        self._saliency, self._guided = 0.0, 0
        self._samples_G = np.zeros(len(GROUPS), np.int64)
        self._share_G = np.zeros(len(GROUPS))
        self._seconds, self._waited, self._method = 0.0, 0.0, 0.0

    def add(self, batch: Batch) -> None:
        """Count one batch."""
        self._events_E += np.bincount(batch.events.numpy(), minlength=len(Event))
        self._unguided += int(batch.unguided.numpy().sum())
        saliency_B = batch.saliency.numpy()
        guided_B = ~np.isnan(saliency_B)
        self._guided += int(guided_B.sum())
        self._saliency += float(saliency_B[guided_B].sum())
        group_B = self._group_K[self._labels_N[batch.indices.numpy()]]
        share_B = batch.erased.numpy() / float(batch.images.shape[2] * batch.images.shape[3])
        self._samples_G += np.bincount(group_B, minlength=len(GROUPS))
        self._share_G += np.bincount(group_B, share_B, minlength=len(GROUPS))
        self._method += batch.seconds_method

    def add_times(self, seconds: float, waited: float) -> None:
        """Add to the wall time, and to the part of it spent waiting."""
        self._seconds += seconds
        self._waited += waited

    def state_dict(self) -> dict[str, Any]:
        """Return the sums so far as plain numbers, for a process that goes on with the epoch."""
        return {name: _plain(getattr(self, f"_{name}")) for name in SUMS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the sums that `state_dict` returned, or from several added up."""
        for name in SUMS:
            mine, value = getattr(self, f"_{name}"), state[name]
            setattr(self, f"_{name}", np.array(value, mine.dtype) if _is_array(mine) else value)

    def report(self) -> EpochReport:
        """Return the sums so far."""
        samples = int(self._samples_G.sum())
        return EpochReport(
            epoch=self._epoch,
            generation=self._generation,
            samples=samples,
            erased=int(self._events_E[Event.ERASE]),
            mixed=int(self._events_E[Event.MIXUP] + self._events_E[Event.PASTE]),
            unguided=self._unguided,
            saliency=self._saliency / self._guided if self._guided else None,
            erased_pixels=float(self._share_G.sum()) / max(1, samples),
            erased_pixels_by_group=dict(zip(GROUPS, self._group_shares(), strict=True)),
            seconds=self._seconds,
            seconds_wait=self._waited,
            seconds_method=self._method,
        )

    def _group_shares(self) -> list[float | None]:
        pairs: NDArray[np.float64] = np.stack((self._share_G, self._samples_G), axis=1)
        return [share / num if num else None for share, num in pairs.tolist()]


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray)


def _plain(value: Any) -> Any:  # noqa: ANN401  # a number, or an array of them
    return value.tolist() if _is_array(value) else value
