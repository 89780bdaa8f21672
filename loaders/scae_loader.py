"""The loader that a training loop iterates: epochs, generations, position, counters.

The state is our own and not that of torchdata's StatefulDataLoader: order and draws are a pure
function of the batch's key, so a position is a handful of numbers, the same for any number of
workers and ranks. That class snapshots every worker instead, which costs time at each step, ties
the state to the number of workers, and says nothing about the other ranks.
"""

import time
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from loaders.agreement import from_rank_zero, ranks_can_talk
from loaders.batches import NO_GENERATION, Batch
from loaders.counters import EpochCounters, EpochReport
from loaders.errors import StateError
from loaders.samplers import EpochBatches
from loaders.scae_dataset import ScaeDataset

STATE_VERSION = 1
"""Version of the state's fields; another one is refused."""


class ScaeLoader:
    """Batches of one epoch after another; made by `build_loader`.

    Epoch and generation travel with every batch's key, so that any worker, on any rank, erases by
    the same maps with the same draws. `state_dict()` in the middle of an epoch and
    `load_state_dict()` go on with the batches that would have come, with any number of workers, and
    with any number of ranks that share the same global batch.
    """

    def __init__(
        self, dataset: ScaeDataset, batches: EpochBatches, loader: "DataLoader[Batch]"
    ) -> None:
        self.dataset = dataset
        self.batches = batches
        self._loader = loader
        self._position = 0
        self._loaded = False  # a state was loaded whose epoch has not been iterated yet
        self._counters = EpochCounters(dataset.data, *dataset.now)

    @property
    def epoch(self) -> int:
        """0-based epoch that the loader is set to."""
        return self.dataset.now[0]

    @property
    def generation(self) -> int:
        """Generation that the loader is set to, 0 for none."""
        return self.dataset.now[1]

    @property
    def num_workers(self) -> int:
        """Processes that make batches, 0 where the loop's own one does."""
        return self._loader.num_workers

    @property
    def finished(self) -> bool:
        """Whether the whole epoch has been delivered."""
        return self._position == int(self.batches.bounds[-1])

    def set_epoch(self, epoch: int, generation: int | None = None) -> int:
        """Choose what the next iteration delivers: the whole epoch.

        After `load_state_dict` the loaded epoch goes on where it was, by the maps it began with.

        Args:
            epoch: 0-based epoch t.
            generation: Generation to read maps from, 0 for none. None is the newest one: where
                several ranks share the epoch, rank 0 looks it up and tells the others, so all of
                them must call this together. A number is taken as it is: tell all ranks the same.

        Returns:
            The generation's number, 0 for none.

        Raises:
            CacheMismatchError: If the cache was made for other data.
            OptionError: If the policy has no such epoch.
            StateError: If the loaded epoch was begun with another generation.
        """
        if self._loaded and epoch == self.epoch:
            if generation not in (None, self.generation):
                raise StateError(
                    f"epoch {epoch} was begun with generation {self.generation} and must go on "
                    f"with it, got {generation}: change maps at the next epoch"
                )
            return self.generation
        if generation is None and self.batches.world_size > 1 and ranks_can_talk():
            generation = from_rank_zero(lambda: self.dataset.set_epoch(epoch))
        number = self.dataset.set_epoch(epoch, generation)
        self._go_to(0)
        self._loaded = False
        return number

    def state_dict(self) -> dict[str, Any]:
        """Return where the loop stands: what was delivered to it, not what workers prefetched.

        Returns:
            Plain numbers and texts, the same on every rank; JSON and `torch.save` take them.
        """
        epoch, generation = self.dataset.now
        return {
            "version": STATE_VERSION,
            "epoch": epoch,
            "position": self._position,
            "generation": generation,
            "generation_digest": self._digest(generation),
            **self._settings(),
        }

    def counted(self) -> dict[str, Any]:
        """Return what this process has counted of the epoch so far, as plain numbers."""
        return self._counters.state_dict()

    def load_state_dict(self, state: dict[str, Any], counted: dict[str, Any] | None = None) -> None:
        """Go on where `state_dict` was called; the next iteration delivers the epoch's rest.

        Args:
            state: From a loader of the same data, sampler, seed and global batch.
            counted: From `counted` at the same place, for a report on the whole epoch; None
                reports on the rest.

        Raises:
            StateError: If the state is of another loader, naming both values.
            CacheNotFoundError: If the state's generation has been removed.
        """
        expected = {"version": STATE_VERSION, **self._settings()}
        for name, value in expected.items():
            if state.get(name) != value:
                raise StateError(
                    f"{name} of the loader's state must be {value!r}, got {state.get(name)!r}: "
                    "build the loader as the one that was saved"
                )
        epoch, generation = int(state["epoch"]), int(state["generation"])
        self.batches.step_at(int(state["position"]))  # refuses before anything is changed
        if state["generation_digest"] != self._digest(generation):
            raise StateError(
                f"generation {generation} of the cache must be {state['generation_digest'][:12]}, "
                f"got {self._digest(generation)[:12]}: this is another cache than the saved one's"
            )
        self.dataset.set_epoch(epoch, generation)
        self._go_to(int(state["position"]))
        self._counters = EpochCounters(self.dataset.data, epoch, generation)
        if counted is not None:
            self._counters.load_state_dict(counted)
        self._loaded = True

    def report(self) -> EpochReport:
        """Return what this process has seen of the epoch being iterated, or of the last one."""
        return self._counters.report()

    def __len__(self) -> int:
        """Return the number of steps of a whole epoch."""
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        # All of this happens when the first batch is asked for: frameworks make the iterator
        # before they announce the epoch.
        given_back = time.perf_counter()
        step = self.batches.start_step
        batches = iter(self._loader)  # has taken the sampler's place: the next one begins anew
        self._go_to(0)
        self._position = int(self.batches.bounds[step])
        if not self._loaded:
            self._counters = EpochCounters(self.dataset.data, *self.dataset.now)
        self._loaded = False
        counters = self._counters
        while True:
            begun = time.perf_counter()
            batch = next(batches, None)
            done = time.perf_counter()
            counters.add_times(done - given_back, done - begun)
            if batch is None:
                return
            given_back = done
            counters.add(batch)
            self.dataset.maps.renew_lease()
            step += 1
            self._position = int(self.batches.bounds[step])
            yield batch

    def _go_to(self, position: int) -> None:
        self.batches.set_epoch(*self.dataset.now, position)
        self._position = position

    def _settings(self) -> dict[str, Any]:
        """Return what decides which samples come when."""
        batches = self.batches
        return {
            "seed": batches.seed,
            "sampler": batches.order.name,
            "global_batch": batches.global_size,
            "drop_last": batches.drop_last,
            "num_samples": len(self.dataset),
            "fingerprint": self.dataset.data.fingerprint,
        }

    def _digest(self, generation: int) -> str:
        return "" if generation == NO_GENERATION else self.dataset.maps.digest(generation)
