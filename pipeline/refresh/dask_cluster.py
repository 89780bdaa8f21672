"""Dask clusters: an embedded one on this machine, or one that is there."""

import importlib.util
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.security import Security
from distributed.system import MEMORY_LIMIT

from pipeline.errors import RefreshError, Stopped
from pipeline.refresh.runner import StopRequested, available_cores

CONNECT_SECONDS = 60.0
"""How long to wait for a scheduler that is named."""
TRY_SECONDS = 3.0
"""How long one attempt to reach it may take: what a request to stop waits for."""
START_ATTEMPTS = 3
"""How often an embedded cluster is started if a worker ends while it starts."""
CLOSE_SECONDS = 5.0
"""How long an embedded cluster may take to end by itself; its workers are killed then."""
KILL_SECONDS = 2.0
"""How long killed workers of an embedded cluster may take to be gone."""
ALLOWED_FAILURES = 100
"""Workers that may die over one block before Dask blames the block. Preemption, walltime and
out-of-memory kills of neighbours are common; a block that really kills its worker is found all
the same."""

logger = logging.getLogger("scae")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterOptions:
    """Which cluster, at most one of the three; with none an embedded cluster uses all cores."""

    workers: int | None = None
    """Worker processes of an embedded cluster."""
    memory_limit: str | None = None
    """Memory of one embedded worker, such as 4GiB; Dask restarts one that nears it. None: an equal
    share of the machine's or the batch job's."""
    scheduler: str | None = None
    """Address of a running scheduler, such as tcp://host:8786."""
    scheduler_file: str | None = None
    """File that a running scheduler wrote, or will have written soon."""
    tls_ca_file: str | None = None
    """Certificate of the authority that signed the cluster's, PEM. None: Dask's configuration."""
    tls_cert: str | None = None
    """This client's certificate, PEM."""
    tls_key: str | None = None
    """Its key, PEM."""

    def __post_init__(self) -> None:
        named = [
            name
            for name in ("workers", "scheduler", "scheduler_file")
            if getattr(self, name) is not None
        ]
        if len(named) > 1:
            raise RefreshError(f"only one of {' and '.join(named)} can be given")
        if self.workers is not None and self.workers < 1:
            raise RefreshError(f"workers must be 1 or more, got {self.workers}")
        if self.memory_limit is not None:
            _parse_bytes(self.memory_limit)
        if self.embedded and any((self.tls_ca_file, self.tls_cert, self.tls_key)):
            raise RefreshError(
                "TLS files belong to a cluster that is there: name it with --scheduler or "
                "--scheduler-file"
            )

    @property
    def embedded(self) -> bool:
        """Whether the cluster is started here."""
        return self.scheduler is None and self.scheduler_file is None


@contextmanager
def connect(options: ClusterOptions, device_type: str, stop: StopRequested) -> Iterator[Client]:
    """Give a client of the cluster; an embedded one ends with it.

    Args:
        options: Which cluster.
        device_type: 'cpu' or 'cuda': with the latter an embedded cluster has one worker a GPU.
        stop: Asked whether to stop waiting.

    Raises:
        RefreshError: If the cluster can't be reached, or there are more workers than GPUs.
        Stopped: If `stop` says so.
    """
    if options.embedded:
        with _embedded(options, device_type) as cluster, Client(cluster) as client:
            yield client
    else:
        with _reach(options, stop) as client:
            yield client


def _reach(options: ClusterOptions, stop: StopRequested) -> Client:
    place = options.scheduler or options.scheduler_file
    until = time.monotonic() + CONNECT_SECONDS
    reason: object = "the file is not there"
    while True:
        if stop():
            raise Stopped(f"stopped waiting for the Dask scheduler at {place}")
        try:
            if options.scheduler is not None:
                return Client(options.scheduler, timeout=TRY_SECONDS, security=_security(options))
            if Path(str(options.scheduler_file)).exists():
                return Client(
                    scheduler_file=options.scheduler_file,
                    timeout=TRY_SECONDS,
                    security=_security(options),
                )
        except (OSError, ValueError, TypeError) as error:
            reason = error  # a TypeError is how Dask says that a tls:// address needs TLS files
        except AssertionError:
            reason = "the file is not one that a scheduler writes"
        if time.monotonic() >= until or isinstance(reason, ValueError | TypeError):
            raise RefreshError(
                f"can't reach the Dask scheduler at {place}: {reason}; check the address, and that "
                "it runs, with 'scae doctor'"
            )
        time.sleep(min(0.5, CONNECT_SECONDS))


def _security(options: ClusterOptions) -> Security | None:
    """Return the TLS files' security, None for what Dask's configuration says."""
    if not any((options.tls_ca_file, options.tls_cert, options.tls_key)):
        return None
    return Security(
        tls_ca_file=options.tls_ca_file,
        tls_client_cert=options.tls_cert,
        tls_client_key=options.tls_key,
        require_encryption=True,
    )


@contextmanager
def _embedded(options: ClusterOptions, device_type: str) -> Iterator[SpecCluster]:
    environments = worker_environments(options.workers, device_type)
    share = MEMORY_LIMIT // len(environments)
    limit = share if options.memory_limit is None else _parse_bytes(options.memory_limit)
    scheduler = {
        "cls": Scheduler,
        "options": {
            "host": "127.0.0.1",
            "port": 0,
            "dashboard": importlib.util.find_spec("bokeh") is not None,
            "dashboard_address": "127.0.0.1:0",
        },
    }
    workers = {
        rank: {"cls": Nanny, "options": _worker_options(environment, limit)}
        for rank, environment in environments.items()
    }
    # The configuration is read when scheduler and workers start.
    with dask.config.set({"distributed.scheduler.allowed-failures": ALLOWED_FAILURES}):
        cluster = _started(scheduler, workers)
        try:
            yield cluster
        finally:
            _close(cluster)


def _started(scheduler: dict[str, Any], workers: dict[int, dict[str, Any]]) -> SpecCluster:
    attempt = 1
    while True:
        try:
            return SpecCluster(scheduler=scheduler, workers=workers, silence_logs=logging.ERROR)
        except RuntimeError as error:  # Dask has ended what had started of it
            if attempt == START_ATTEMPTS:
                raise RefreshError(
                    f"workers of the embedded Dask cluster ended while they started, {attempt} "
                    f"times in turn ({error}): is there enough memory for {len(workers)} of them?"
                ) from error
            logger.warning("a worker ended while the Dask cluster was starting: %s", error)
        attempt += 1


def _close(cluster: SpecCluster) -> None:
    try:
        cluster.close(timeout=CLOSE_SECONDS)
    except Exception as error:  # noqa: BLE001  # what the job has done does not hang on it
        logger.warning("the embedded Dask cluster had to be killed: %r", error)
        kill_workers(cluster)
        cluster.shutdown_on_close = False  # or Dask tries again, in vain, when the process ends


def kill_workers(cluster: SpecCluster) -> None:
    """End the worker processes of an embedded cluster at once, whatever they do."""

    async def kill() -> None:
        # Those that the cluster is about to start or to close are among the created ones only.
        living = [nanny for nanny in cluster._created if nanny.pid is not None]
        killed = [nanny.process for nanny in living]
        for nanny in living:
            nanny.close_gracefully("the job ends")  # or it would start its worker anew
            os.kill(nanny.pid, signal.SIGKILL)
        for process in killed:  # a nanny that is to close waits for a process that was starting
            await process.stopped.wait()

    with suppress(TimeoutError):  # the kernel ends them, whether or not Dask hears of it in time
        cluster.sync(kill, callback_timeout=KILL_SECONDS)


def _worker_options(environment: dict[str, str], limit: int) -> dict[str, Any]:
    return {
        "nthreads": 1,
        "host": "127.0.0.1",
        "memory_limit": limit,
        "env": environment,
        "silence_logs": logging.ERROR,
        "dashboard": False,
    }


def worker_environments(workers: int | None, device_type: str) -> dict[int, dict[str, str]]:
    """Return the environment variables of each worker of an embedded cluster, by its rank.

    Args:
        workers: Number of workers; None for one a core, or one a GPU.
        device_type: 'cpu' or 'cuda'.

    Raises:
        RefreshError: If there are more workers than GPUs.
    """
    cores = available_cores()
    gpus = _visible_gpus() if device_type == "cuda" else []
    count = workers or len(gpus) or cores
    if gpus and count > len(gpus):
        raise RefreshError(
            f"workers must be at most the number of GPUs here, {len(gpus)}, got {count}: each "
            "worker owns one"
        )
    # Dask gives every worker one thread of OpenMP; fewer workers than cores get more.
    threads = {"OMP_NUM_THREADS": str(max(1, cores // count))}
    return {
        rank: threads | ({"CUDA_VISIBLE_DEVICES": gpus[rank]} if gpus else {})
        for rank in range(count)
    }


def _visible_gpus() -> list[str]:
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    return [str(index) for index in range(torch.cuda.device_count())]


def _parse_bytes(text: str) -> int:
    try:
        limit = int(dask.utils.parse_bytes(text))
    except ValueError:
        limit = 0
    if limit < 1:
        raise RefreshError(f"memory_limit must be a size such as 4GiB, got {text!r}")
    return limit
