"""What travels between the sampler, the workers and the training loop.

Legend: B samples of a batch, K classes, S side of the network's input.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loaders.batch_memory import handed_over
from loaders.batch_ring import Place
from loaders.view_batch import ViewBatch

BY_VALUE_BYTES = 1 << 16
"""Up to this size a worker sends a tensor's bytes; larger ones go through shared memory, which
costs a file, its mapping and a message a tensor."""

NO_GENERATION = 0
"""Generation number that stands for 'no maps yet': centres are drawn uniformly."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class BatchKey:
    """One batch as the sampler sends it: epoch and generation travel with the indices.

    So persistent workers see both change, and everything random is a function of the key.
    """

    epoch: int
    """0-based epoch."""
    generation: int
    """Generation to read maps from, 0 for none."""
    step: int
    """Number of the batch in the epoch's global order."""
    indices: NDArray[np.int64]
    """(B,) rows of the data set."""
    draws: NDArray[np.int64]
    """(B,) how often each sample came before in this epoch's global order."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Batch:
    """One batch as the training loop gets it. Unpacks into `images, labels`."""

    images: Tensor
    """(B, 3, S, S) float32, normalised, erased or mixed."""
    labels: Tensor
    """(B,) int64, or (B, K) float32 that sum to 1 where partners of other classes are mixed in."""
    indices: Tensor
    """(B,) int64 rows of the data set."""
    draws: Tensor
    """(B,) int64, how often each sample came before in this epoch's global order."""
    events: Tensor
    """(B,) uint8 values of `loaders.policy.Event`."""
    boxes: Tensor
    """(B, 4) int64 rectangles (y0, x0, y1, x1), half open, that the event is about; empty where
    there is none."""
    erased: Tensor
    """(B,) int64 number of erased pixels."""
    unguided: Tensor
    """(B,) bool, True where a rectangle's centre was uniform for lack of a map."""
    saliency: Tensor
    """(B,) float32 in [0, 1], A_hat at the rectangle's centre; nan where no map placed one."""
    views: ViewBatch
    """Where each image's pixels lie on the whole image, or outside it."""
    originals: Tensor | None = None
    """(B, 3, S, S) float32, images before they were augmented, where the training step chooses
    what to keep of them; else None."""
    seconds_method: float = 0.0
    """Processor time of the thread that made the batch, in its method alone: looking up maps,
    deciding, placing, erasing and mixing, partners' loading included."""

    def __reduce__(self) -> tuple[Callable[..., "Batch"], tuple[dict[str, Any]]]:
        return _unpacked, (
            {field.name: _packed(getattr(self, field.name)) for field in fields(self)},
        )

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.images, self.labels))

    def pin_memory(self, device: str | None = None) -> "Batch":
        """Return the batch with images and labels in pinned memory (the data loader calls this)."""
        return self._moved(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with images and labels on a device."""
        return self._moved(lambda tensor: tensor.to(device, non_blocking=True))

    def _moved(self, move: Callable[[Tensor], Tensor]) -> "Batch":
        return replace(
            self,
            images=move(self.images),
            labels=move(self.labels),
            originals=None if self.originals is None else move(self.originals),
        )


def _packed(value: Tensor | float | None) -> Tensor | NDArray[Any] | Place | float | None:
    if not isinstance(value, Tensor) or value.device.type != "cpu":
        return value
    place = handed_over(value)
    if place is not None:
        return place
    return value.numpy() if value.nbytes <= BY_VALUE_BYTES else value


def _unpacked(packed: dict[str, Any]) -> Batch:
    return Batch(**{name: _tensor(value) for name, value in packed.items()})


def _tensor(packed: Any) -> Any:  # noqa: ANN401  # what `_packed` returns
    if isinstance(packed, Place):
        return packed.received()
    return torch.from_numpy(packed) if isinstance(packed, np.ndarray) else packed
