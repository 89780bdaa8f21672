"""Running blocks on a Dask cluster: an embedded one on this machine, or one that is there.

A task is one block. It is idempotent and returns a few numbers, so Dask may run it twice, and
lose it; what counts is the receipt on disk.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from distributed import Client, Future, LocalCluster, wait

from cache_store.writer import GenerationWriter
from pipeline.errors import RefreshError, Stopped
from pipeline.refresh.blocks import Block
from pipeline.refresh.plan import RefreshPlan
from pipeline.refresh.runner import BlockResult, BlockRunner, StopRequested

CONNECT_TIMEOUT = "30s"
"""How long to wait for a scheduler that is named."""
POLL_SECONDS = 0.5
"""How often a wait for the next result looks whether it should stop."""

_runners: dict[str, BlockRunner] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class DaskExecutor:
    """Runs blocks on a Dask cluster.

    Exactly one of the three may be given; with none an embedded cluster uses all cores.
    """

    workers: int | None = None
    """Worker processes of an embedded cluster."""
    scheduler: str | None = None
    """Address of a running scheduler, such as tcp://host:8786."""
    scheduler_file: str | None = None
    """File that a running scheduler wrote."""

    def run(
        self, plan: RefreshPlan, number: int, blocks: Sequence[Block], stop: StopRequested
    ) -> Iterator[BlockResult]:
        """Run blocks of generation `number` wherever workers are free.

        Raises:
            RefreshError: If the cluster can't be reached, or the cache is not on a shared store.
            Stopped: If `stop` says so.
        """
        if plan.cache.startswith("memory://"):
            raise RefreshError(
                f"cache {plan.cache} lives in one process: name a folder for a Dask cluster"
            )
        with ExitStack() as stack:
            client = stack.enter_context(self._client(stack))
            futures = client.map(
                run_block, list(blocks), plan=plan, number=number, pure=False, retries=0
            )
            yield from _results(client, futures, stop)

    def _client(self, stack: ExitStack) -> Client:
        try:
            if self.scheduler:
                return Client(self.scheduler, timeout=CONNECT_TIMEOUT)
            if self.scheduler_file:
                return Client(scheduler_file=self.scheduler_file, timeout=CONNECT_TIMEOUT)
        except (OSError, ValueError) as error:
            place = self.scheduler or self.scheduler_file
            raise RefreshError(f"can't reach the Dask scheduler at {place}: {error}") from error
        cores = os.cpu_count() or 1
        workers = self.workers or cores
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                silence_logs=logging.ERROR,
                # Dask gives every worker one thread of OpenMP; fewer workers than cores get more.
                env={"OMP_NUM_THREADS": str(max(1, cores // workers))},
            )
        )
        return Client(cluster)


def run_block(block: Block, *, plan: RefreshPlan, number: int) -> BlockResult:
    """Run one block in this worker process; data and network are opened for the first one."""
    key = plan.generation.digest() + plan.cache
    if key not in _runners:
        _runners.clear()  # one plan at a time: an old network would only hold memory
        _runners[key] = BlockRunner(plan)
    writer = GenerationWriter.attach(plan.cache, number, fsync=plan.options.fsync)
    return _runners[key].run(writer, block)


def _results(client: Client, futures: list[Future], stop: StopRequested) -> Iterator[BlockResult]:
    waiting = set(futures)
    while waiting:
        if stop():
            client.cancel(list(waiting))
            raise Stopped("stopped; blocks that are done stay: run the same command again")
        try:
            done = wait(waiting, timeout=POLL_SECONDS, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            continue
        for future in done:
            waiting.discard(future)
            yield future.result()
