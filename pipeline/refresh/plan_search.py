"""Looking for the generation of a plan among those that are published, whoever publishes them."""

import logging

from cache_store.errors import CacheNotFoundError, StoreError
from cache_store.generation import Generation
from cache_store.store import SaliencyStore
from pipeline.refresh.parts import plan_differences
from pipeline.refresh.plan import RefreshPlan

logger = logging.getLogger("scae")


class PlanSearch:
    """Looks through a cache as often as asked, and reads each generation once.

    Args:
        plan: What the maps must have been made from, to the digest: those of the same weights that
            were made in another way are told of in the log, and left alone.
    """

    def __init__(self, plan: RefreshPlan) -> None:
        self._plan = plan
        self._wanted = plan.generation.digest()
        self._seen: set[int] = set()
        self.found: Generation | None = None
        """The generation, once a look has found it."""
        self.near_miss: str | None = None
        """What differs in maps of the same weights, if there are such."""

    def look(self) -> Generation | None:
        """Return the newest generation of the plan, None if there is none yet.

        Raises:
            StoreError: If the cache can't be read.
        """
        try:
            store = SaliencyStore.open(self._plan.cache)
        except CacheNotFoundError:
            return None
        for number in reversed(store.generations()):
            if self.found is None and number not in self._seen:
                self.found = self._read(store, number)
        return self.found

    def _read(self, store: SaliencyStore, number: int) -> Generation | None:
        self._seen.add(number)
        try:
            generation = store.generation(number)
        except CacheNotFoundError:
            return None  # collected since the listing
        except StoreError as error:
            logger.warning("generation %d is left alone: %s", number, error)
            return None
        if generation.manifest.plan.digest() == self._wanted:
            return generation
        ours, theirs = self._plan.generation, generation.manifest.plan
        if theirs.provenance.weights_digest == ours.provenance.weights_digest:
            self.near_miss = f"generation {number} differs in {plan_differences(theirs, ours)}"
            logger.warning("maps of these weights were made otherwise: %s", self.near_miss)
        return None
