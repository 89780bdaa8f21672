"""An epoch cut into batches for every rank: a pure function of (seed, epoch)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from loaders.batches import NO_GENERATION, BatchKey
from loaders.errors import OptionError, StateError
from loaders.sample_orders import SampleOrder, occurrences

SHUFFLE_PURPOSE = 0x5CAE
"""Sets the shuffle's numbers apart from other uses of NumPy's Philox with the same seed."""


class EpochBatches:
    """Yields the batch keys of one epoch; `set_epoch` chooses which, and where in it to begin.

    A step's global batch goes to the ranks in turn, sample by sample. Every sample of the order is
    delivered once over all ranks, none twice to fill up: the last global batch may be smaller, and
    where it would leave a rank without samples, it joins the one before.

    Args:
        order: Which samples an epoch delivers.
        batch_size: Samples a batch of one rank.
        seed: The run's seed, at least 0.
        drop_last: Leave out a last batch that is not full.
        rank: This process, 0 <= rank < world_size.
        world_size: Number of processes that share an epoch.

    Raises:
        OptionError: If a number is outside its range, or a rank would get no sample at all.
    """

    def __init__(
        self,
        order: SampleOrder,
        batch_size: int,
        *,
        seed: int = 0,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < 1 or seed < 0:
            raise OptionError(
                f"batch_size must be at least 1 and seed at least 0, got {batch_size} and {seed}"
            )
        if not 0 <= rank < world_size:
            raise OptionError(f"rank must be in [0, world_size {world_size}), got {rank}")
        self.order = order
        self.seed = seed
        self.drop_last = drop_last
        self.rank, self.world_size = rank, world_size
        self.global_size = batch_size * world_size
        self.bounds = self._bounds()
        self._epoch, self._generation, self._first = 0, NO_GENERATION, 0

    def set_epoch(self, epoch: int, generation: int, position: int = 0) -> None:
        """Choose what the next iteration is about.

        Args:
            epoch: 0-based epoch.
            generation: Generation to read maps from, 0 for none.
            position: Samples of the epoch, over all ranks, that were delivered already.

        Raises:
            StateError: If no step of this many ranks and samples a batch begins there.
        """
        first = self.step_at(position)
        self._epoch, self._generation, self._first = epoch, generation, first

    def step_at(self, position: int) -> int:
        """Return the step that begins after `position` samples of an epoch, over all ranks.

        Raises:
            StateError: If none does, for this many ranks and samples a batch.
        """
        step = int(np.searchsorted(self.bounds, position))
        if step == len(self.bounds) or self.bounds[step] != position:
            raise StateError(
                f"position in the epoch must be one where a batch of {self.world_size} ranks "
                f"begins (a multiple of {self.global_size}, or the end {self.bounds[-1]}), got "
                f"{position}: go on with the number of ranks that saved it"
            )
        return step

    @property
    def start_step(self) -> int:
        """Step that the next iteration begins with."""
        return self._first

    def rows(self, epoch: int) -> NDArray[np.int64]:
        """Return the epoch's rows of the data set over all ranks, (M,) int64."""
        entropy = np.random.SeedSequence([self.seed, epoch, SHUFFLE_PURPOSE])
        return self.order.draw(np.random.Generator(np.random.Philox(entropy)))

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __iter__(self) -> Iterator[BatchKey]:
        # Not in the generator: that runs when the first batch is asked for, maybe after set_epoch.
        return self._keys(self._epoch, self._generation, self._first)

    def _keys(self, epoch: int, generation: int, first: int) -> Iterator[BatchKey]:
        rows_M = self.rows(epoch)
        draws_M = occurrences(rows_M)
        for step in range(first, len(self)):
            mine = slice(self.bounds[step] + self.rank, self.bounds[step + 1], self.world_size)
            yield BatchKey(
                epoch=epoch,
                generation=generation,
                step=step,
                indices=rows_M[mine].copy(),
                draws=draws_M[mine].copy(),
            )

    def _bounds(self) -> NDArray[np.int64]:
        """Return where each step's global batch begins, and where the last one ends."""
        total, size = len(self.order), self.global_size
        if total < self.world_size or (self.drop_last and total < size):
            least = f"a global batch of {size}" if self.drop_last else f"{self.world_size} ranks"
            raise OptionError(f"an epoch must have samples for {least}, got {total}")
        bounds = list(range(0, total + 1, size))
        rest = total - bounds[-1]
        if rest and not self.drop_last:
            if rest < self.world_size:
                bounds[-1] = total
            else:
                bounds.append(total)
        return np.array(bounds, np.int64)
