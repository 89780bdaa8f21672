"""What training has seen of every image: maps of views gathered by an epoch, merged over epochs.

Legend: N samples, M of them seen, V views, h, w height and width of a map.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

LEVELS = 255
"""Of a stored value: 255 = 1.0."""
NEVER = -1
"""Epoch of a cell that no view has shown."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class SeenViews:
    """Maps of views in the cells of their whole images, as one rank has seen them."""

    rows: NDArray[np.int64]
    """(V,) rows of the data set."""
    draws: NDArray[np.int64]
    """(V,) how often each sample came before in the epoch."""
    values: NDArray[np.uint8]
    """(V, h, w) of each map's maximum, 255 = 1.0."""
    weights: NDArray[np.uint8]
    """(V, h, w) how far each cell was shown and is believed, 255 = 1.0."""
    probability: NDArray[np.float32]
    """(V,) of the label, by the training step."""

    @classmethod
    def none(cls, shape: tuple[int, int]) -> Self:
        """Return no view of maps of (h, w)."""
        no_rows, no_maps = np.empty(0, np.int64), np.empty((0, *shape), np.uint8)
        return cls(
            rows=no_rows,
            draws=no_rows,
            values=no_maps,
            weights=no_maps,
            probability=np.empty(0, np.float32),
        )

    @classmethod
    def joined(cls, parts: Sequence["SeenViews"]) -> Self:
        """Return all views of several parts, by row and draw: whoever saw them, in one order."""
        names = cls.__dataclass_fields__
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        order = np.lexsort((columns["draws"], columns["rows"]))
        return cls(**{name: column[order] for name, column in columns.items()})

    def state(self) -> dict[str, torch.Tensor]:
        """Return the columns as tensors, for a checkpoint."""
        return {name: torch.from_numpy(getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def of_state(cls, state: dict[str, torch.Tensor]) -> Self:
        """Take back what `state` returned."""
        return cls(**{name: column.numpy() for name, column in state.items()})


class MergedMaps:
    """A weighted mean over the views of each cell; those of earlier epochs count ever less.

    Args:
        num_samples: N.
        shape: (h, w).
        decay: What an epoch leaves of the weight of the views before, in [0, 1).
    """

    def __init__(self, num_samples: int, shape: tuple[int, int], decay: float) -> None:
        self.decay = decay
        cells = (num_samples, *shape)
        self.values = np.zeros(cells, np.float16)
        """(N, h, w) float16 in [0, 1], weighted means."""
        self.weights = np.zeros(cells, np.float16)
        """(N, h, w) float16, sums of weights, as of each row's last epoch."""
        self.epochs = np.full(cells, NEVER, np.int16)
        """(N, h, w) int16, the last epoch whose views showed a cell; -1: none."""
        self.rows_epoch = np.full(num_samples, NEVER, np.int16)
        """(N,) int16, epoch that a row's weights are as of."""
        self.probability = np.zeros(num_samples, np.float16)
        """(N,) float16, of the label, the last time that a sample was seen."""

    def add(self, seen: SeenViews, epoch: int) -> None:
        """Merge an epoch's views, in the order of row and draw.

        Args:
            seen: Of all ranks, joined.
            epoch: 0-based epoch that they are from.
        """
        # A sample may come several times: its first views of all samples, then its second ones.
        for draw in np.unique(seen.draws):
            chosen = np.flatnonzero(seen.draws == draw)
            self._add(seen, chosen, epoch)

    def _add(self, seen: SeenViews, chosen: NDArray[np.int64], epoch: int) -> None:
        rows_M = seen.rows[chosen]
        new_Mhw = seen.weights[chosen] / np.float32(LEVELS)
        values_Mhw = seen.values[chosen] / np.float32(LEVELS)
        passed_M = np.where(self.rows_epoch[rows_M] == NEVER, 0, epoch - self.rows_epoch[rows_M])
        old_Mhw = self.weights[rows_M].astype(np.float32)
        old_Mhw *= np.float32(self.decay) ** passed_M[:, None, None]
        total_Mhw = old_Mhw + new_Mhw
        sums_Mhw = old_Mhw * self.values[rows_M] + new_Mhw * values_Mhw
        shown_Mhw = total_Mhw > 0
        self.values[rows_M] = np.divide(
            sums_Mhw, total_Mhw, out=np.zeros_like(sums_Mhw), where=shown_Mhw
        )
        self.weights[rows_M] = total_Mhw
        self.epochs[rows_M] = np.where(new_Mhw > 0, epoch, self.epochs[rows_M])
        self.rows_epoch[rows_M] = epoch
        self.probability[rows_M] = seen.probability[chosen]

    def begin_with(self, maps: NDArray[np.uint8], epoch: int, weight: float) -> None:
        """Take over the maps of a true refresh: they replace what was there.

        Args:
            maps: (N, h, w) uint8, 255 = 1.0, in the rows' order.
            epoch: 0-based epoch whose weights they are of.
            weight: How many views a cell of them counts as.
        """
        self.values[:] = maps / np.float32(LEVELS)
        self.weights[:] = weight
        self.epochs[:] = epoch
        self.rows_epoch[:] = epoch

    def state(self) -> dict[str, torch.Tensor]:
        """Return what a checkpoint needs."""
        return {name: torch.from_numpy(getattr(self, name)) for name in _STATE}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        for name in _STATE:
            getattr(self, name)[:] = state[name].numpy()


_STATE = ("values", "weights", "epochs", "rows_epoch", "probability")
