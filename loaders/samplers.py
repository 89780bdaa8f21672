"""The order of an epoch: a pure function of (seed, epoch), cut into batches for every rank."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from loaders.batches import NO_GENERATION, BatchKey
from loaders.errors import OptionError

SHUFFLE_PURPOSE = 0x5CAE
"""Sets the shuffle's numbers apart from other uses of NumPy's Philox with the same seed."""


class EpochBatches:
    """Yields the batch keys of one epoch; `set_epoch` chooses which.

    A step's global batch is cut into equal parts, one a rank; the last global batch may be smaller.

    Args:
        num_samples: N.
        batch_size: Samples a batch of one rank.
        seed: The run's seed, at least 0.
        shuffle: False keeps the data set's order.
        drop_last: Leave out a last batch that is not full.
        rank: This process, 0 <= rank < world_size.
        world_size: Number of processes that share an epoch.

    Raises:
        OptionError: If a number is outside its range.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if num_samples < 1 or batch_size < 1 or seed < 0:
            raise OptionError(
                "num_samples and batch_size must be at least 1 and seed at least 0, "
                f"got {num_samples}, {batch_size} and {seed}"
            )
        if not 0 <= rank < world_size:
            raise OptionError(f"rank must be in [0, world_size {world_size}), got {rank}")
        self._num_samples = num_samples
        self._batch_size = batch_size
        self._seed = seed
        self._shuffle = shuffle
        self._drop_last = drop_last
        self._rank, self._world_size = rank, world_size
        self._epoch, self._generation = 0, NO_GENERATION

    def set_epoch(self, epoch: int, generation: int) -> None:
        """Choose the epoch and the generation that the next iteration is about."""
        self._epoch, self._generation = epoch, generation

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the epoch's global order, (N,) int64, each sample once."""
        if not self._shuffle:
            return np.arange(self._num_samples)
        entropy = np.random.SeedSequence([self._seed, epoch, SHUFFLE_PURPOSE])
        return np.random.Generator(np.random.Philox(entropy)).permutation(self._num_samples)

    def __len__(self) -> int:
        whole, rest = divmod(self._num_samples, self._batch_size * self._world_size)
        return whole + (rest > 0 and not self._drop_last)

    def __iter__(self) -> Iterator[BatchKey]:
        order_N = self.order(self._epoch)
        global_size = self._batch_size * self._world_size
        for step in range(len(self)):
            indices = order_N[step * global_size : (step + 1) * global_size]
            mine = np.array_split(indices, self._world_size)[self._rank]
            yield BatchKey(
                epoch=self._epoch,
                generation=self._generation,
                step=step,
                indices=mine,
                draws=np.zeros(len(mine), np.int64),
            )
