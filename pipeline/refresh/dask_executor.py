"""Running blocks on a Dask cluster.

A task is one block. It is idempotent and returns a few numbers, so Dask may run it twice, and
lose it; what counts is the receipt on disk.
"""

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import Future as Concurrent
from contextlib import ExitStack
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future
from distributed.scheduler import KilledWorker
from distributed.utils import silence_logging_cmgr

from cache_store.errors import ScaeError
from pipeline.errors import BlockFailure, RefreshError, Stopped
from pipeline.refresh.attempts import BlockOutcome
from pipeline.refresh.blocks import Block
from pipeline.refresh.dask_cluster import ClusterOptions, connect, kill_workers
from pipeline.refresh.dask_worker import (
    BlockJob,
    RefreshPlugin,
    own_versions,
    request_stop,
    run_block,
)
from pipeline.refresh.plan import RefreshPlan
from pipeline.refresh.runner import StopRequested, available_cores

POLL_SECONDS = 0.25
"""How often a wait for the next result looks whether it should stop."""
STOP_SECONDS = 3.0
"""How long workers get to hear that they should stop."""
RESULT_SECONDS = 5.0
"""How long the few numbers of a finished block may take to arrive; later they count as lost."""
COUNT_SECONDS = 2.0
"""How often the workers are counted."""
LONELY_SECONDS = 120.0
"""How long an embedded cluster may be without any worker: those that start die at once."""
MAX_KILLED = 3
"""How often Dask may blame a block for its workers' deaths."""
SET_UP_ATTEMPTS = 5
"""Attempts to set up all workers; one of them may die meanwhile."""

logger = logging.getLogger("scae")


class DaskExecutor:
    """Runs blocks on a Dask cluster.

    Args:
        cluster: Which one.
    """

    def __init__(self, cluster: ClusterOptions) -> None:
        self._cluster = cluster
        self.num_workers = 0
        self.dashboard: str | None = None
        self.address: str | None = None
        """Address of the scheduler, once it is known."""

    def run(
        self, plan: RefreshPlan, number: int, blocks: Sequence[Block], stop: StopRequested
    ) -> Generator[BlockOutcome | None]:
        """Run blocks of generation `number` wherever workers are free.

        Raises:
            RefreshError: If the cluster can't be reached, a worker runs other versions or sees
                other data, or the cache is not on a shared store.
            Stopped: If `stop` says so, or the scheduler is lost.
        """
        if plan.cache.startswith("memory://"):
            raise RefreshError(
                f"cache {plan.cache} lives in one process: name a folder for a Dask cluster"
            )
        if not blocks:
            return
        threads = plan.options.decode_threads
        if threads is None and self._cluster.embedded:
            # They share this machine's cores.
            threads = max(1, available_cores() // (self._cluster.workers or available_cores()))
        job = BlockJob(
            plan=replace(plan, options=replace(plan.options, decode_threads=threads)),
            number=number,
            token=uuid.uuid4().hex,
            versions=own_versions(),
        )
        device_type = plan.generation.provenance.device_type
        with ExitStack() as quiet, connect(self._cluster, device_type, stop) as client:
            self.dashboard, self.address = _dashboard(client), client.scheduler.address
            run = _Run(client, job, embedded=self._cluster.embedded)
            try:
                run.set_up(stop)
                run.submit(blocks)
                while not run.is_done:
                    run.check(stop)
                    self.num_workers = run.num_workers
                    outcomes = run.next_outcomes()
                    yield from outcomes
                    if not outcomes:
                        yield None
            finally:
                if self._cluster.embedded and not run.is_done:
                    # It is about to lose all of its workers, and would show tracebacks of that.
                    quiet.enter_context(silence_logging_cmgr(logging.CRITICAL))
                run.close()


class _Run:
    """One job on a cluster: what was submitted and has not come back."""

    def __init__(self, client: Client, job: BlockJob, *, embedded: bool) -> None:
        self._client = client
        self._job = job
        self._embedded = embedded
        self._ready: SimpleQueue[Future] = SimpleQueue()
        self._futures: dict[Block, Future] = {}
        self.waiting: dict[str, Block] = {}
        self._killed: Counter[Block] = Counter()
        self._submitted = False
        self.num_workers = 0
        self._last_seen = time.monotonic()
        self._counted = self._last_seen - COUNT_SECONDS

    @property
    def is_done(self) -> bool:
        """Whether all blocks were submitted and have come back."""
        return self._submitted and not self.waiting

    def set_up(self, stop: StopRequested) -> None:
        """Open data and network in all workers; those that join later do it by themselves."""
        plugin = RefreshPlugin(self._job, embedded=self._embedded)
        for attempt in range(1, SET_UP_ATTEMPTS + 1):
            done = self._in_thread(self._client.register_plugin, plugin)
            while not done.done():
                self.check(stop)
                time.sleep(POLL_SECONDS / 5)
            error = done.exception()
            if error is None:
                return
            # A worker that dies meanwhile breaks the connection; the next one knows the plugin.
            if attempt == SET_UP_ATTEMPTS or not isinstance(error, OSError | TimeoutError):
                raise _as_scae_error(error) from error

    def submit(self, blocks: Sequence[Block]) -> None:
        """Hand blocks to the cluster."""
        futures = self._client.map(run_block, list(blocks), job=self._job, pure=False)
        for block, future in zip(blocks, futures, strict=True):
            self._futures[block] = future  # a future that nobody holds is forgotten by Dask
            self.waiting[future.key] = block
            future.add_done_callback(self._ready.put)
        self._submitted = True

    def check(self, stop: StopRequested) -> None:
        """Look whether it makes sense to go on.

        Raises:
            Stopped: If not, and the job can be resumed.
            RefreshError: If an embedded cluster loses every worker that it starts.
        """
        if stop():
            raise Stopped("stopped; blocks that are done stay: run the same command again")
        if self._client.status != "running":
            raise Stopped(
                "the Dask scheduler is lost; blocks that are done stay: start a cluster and run "
                "the same command again"
            )
        now = time.monotonic()
        if now - self._counted >= COUNT_SECONDS:
            self._counted = now
            self.num_workers = _count_workers(self._client)
            if self._embedded:
                # Dask starts anew what crashed, but not a worker that closed itself and its
                # nanny; asking for as many as there should be replaces those after a while.
                cluster = self._client.cluster
                cluster.scale(len(cluster.worker_spec))
        if self.num_workers:
            self._last_seen = now
        elif self._embedded and now - self._last_seen > LONELY_SECONDS:
            raise RefreshError(
                f"no worker has lived for {LONELY_SECONDS:.0f} s: their memory may be too small, "
                "see --memory-limit"
            )

    def next_outcomes(self) -> list[BlockOutcome]:
        """Wait a moment for blocks that end, and fetch what all of them tell in one go.

        Raises:
            RefreshError: If a worker can't work for this job at all.
        """
        ended = self._ended()
        # One request for all: on a busy machine every way to a worker and back waits for a core.
        found = {key: future for key, future in ended.items() if future.status == "finished"}
        told: dict[str, BlockOutcome | None] = {}
        try:
            if found:
                told = self._client.sync(
                    lambda: self._client.gather(found, errors="skip", asynchronous=True),
                    callback_timeout=RESULT_SECONDS,
                )
        except TimeoutError:  # a worker died with its result: Dask computes that again
            for future in found.values():
                future.add_done_callback(self._ready.put)
            ended = {key: future for key, future in ended.items() if key not in found}
        outcomes = [self._outcome(future, told.get(key)) for key, future in ended.items()]
        return [outcome for outcome in outcomes if outcome is not None]

    def _ended(self) -> dict[str, Future]:
        """Wait a moment for a block that is waited for to end; return all that have."""
        ended: dict[str, Future] = {}
        try:
            future = self._ready.get(timeout=POLL_SECONDS)
            while True:
                if future.key in self.waiting:
                    ended[future.key] = future
                future = self._ready.get_nowait()
        except Empty:
            return ended

    def _outcome(self, future: Future, told: BlockOutcome | None) -> BlockOutcome | None:
        """Return how a block ended; None if it has to be computed again."""
        block = self.waiting[future.key]
        try:
            outcome = told or future.result(timeout=RESULT_SECONDS)
        except KilledWorker as error:
            return self._blame(block, error)
        except TimeoutError:  # its worker died with the result: Dask computes it again
            future.add_done_callback(self._ready.put)
            return None
        except CancelledError:  # a scheduler that was started anew knows nothing of it
            self._forget(block)
            self.submit([block])
            return None
        except Exception as error:  # the block's own failures come back as outcomes
            raise _as_scae_error(error) from error
        self._forget(block)
        return outcome

    def close(self) -> None:
        """Take back what has not been done, and free the workers."""
        if self._client.status != "running":
            return
        calls: list[Callable[[], object]] = []
        if self.waiting:
            self._client.cancel(list(self._futures.values()))
        if self._embedded and not self.is_done:
            # What they have in hand leaves no receipt; to wait for it would only take time.
            calls.append(lambda: kill_workers(self._client.cluster))
        elif self.waiting:
            token = self._job.token
            calls.append(
                lambda: self._client.run(request_stop, token, wait=False, on_error="ignore")
            )
        if not self._embedded:  # those end with the cluster
            calls.append(lambda: self._client.unregister_worker_plugin(RefreshPlugin.name))
        until = time.monotonic() + STOP_SECONDS
        for call in calls:
            try:
                self._in_thread(call).result(timeout=max(0.0, until - time.monotonic()))
            except Exception as error:  # noqa: BLE001  # workers come and go; the next job tidies
                logger.debug("could not tidy up all Dask workers: %r", error)

    def _blame(self, block: Block, error: KilledWorker) -> BlockOutcome | None:
        self._forget(block)
        self._killed[block] += 1
        if self._killed[block] < MAX_KILLED:
            self.submit([block])
            return None
        return BlockFailure(
            block.number,
            self._killed[block],
            f"every worker that computed rows {block.start} to {block.stop - 1} died, the last "
            f"at {error.last_worker.address}: give workers more memory, or take a smaller "
            "--batch-size",
        )

    def _forget(self, block: Block) -> None:
        future = self._futures.pop(block)
        del self.waiting[future.key]

    def _in_thread(self, call: Callable[..., Any], *arguments: object) -> "Concurrent[Any]":
        """Call something that may hang, so that a request to stop does not wait for it."""
        pool = ThreadPoolExecutor(1)
        done = pool.submit(call, *arguments)
        pool.shutdown(wait=False)
        return done


def _as_scae_error(error: BaseException) -> ScaeError:
    if isinstance(error, ScaeError):
        return error
    return RefreshError(
        f"a Dask worker can't do this job: {type(error).__name__}: {error}; see its log"
    )


def _count_workers(client: Client) -> int:
    try:
        return len(client.nthreads())
    except (OSError, TimeoutError):
        return 0  # the next look at the client's status tells


def _dashboard(client: Client) -> str | None:
    services = client.scheduler_info()["services"]
    return str(client.dashboard_link) if "dashboard" in services else None
