"""What a Dask worker process does: open data and network once, then compute the blocks it gets."""

import asyncio
import platform
import signal
import socket
import threading
from dataclasses import dataclass
from importlib.metadata import version

from distributed import WorkerPlugin

from cache_store.writer import GenerationWriter
from pipeline.errors import RefreshError
from pipeline.refresh.attempts import BlockOutcome, attempt_block
from pipeline.refresh.blocks import Block
from pipeline.refresh.plan import RefreshPlan, resolve_device
from pipeline.refresh.runner import BlockRunner

SAME_VERSIONS = ("scae", "torch", "numpy", "zarr", "numcodecs", "distributed")
"""Distributions that client and workers must have in one version: they decide the bytes, or how
the two talk."""


def own_versions() -> dict[str, str]:
    """Return the versions that must be the same in all processes of a job."""
    python = ".".join(platform.python_version_tuple()[:2])
    # A build for CUDA and one for the CPU, 2.8.0+cu128 and 2.8.0+cpu, are one version.
    return {"python": python} | {name: version(name).partition("+")[0] for name in SAME_VERSIONS}


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockJob:
    """One refresh, as its workers see it."""

    plan: RefreshPlan
    """The plan."""
    number: int
    """The generation."""
    token: str
    """Different for each run, so that a request to stop one does not stop the next."""
    versions: dict[str, str]
    """What the client runs."""


@dataclass(frozen=True, slots=True)
class _Opened:
    token: str
    runner: BlockRunner
    writer: GenerationWriter
    lock: threading.Lock
    """A worker with several threads computes one block at a time: the network is one."""


class _Worker:
    """What this process has opened: one job at a time, an old network would only hold memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: _Opened | None = None
        self.stopped: set[str] = set()

    def open(self, job: BlockJob) -> _Opened:
        with self._lock:
            if self._opened is None or self._opened.token != job.token:
                self._close()
                _check_process(job)
                writer = GenerationWriter.attach(
                    job.plan.cache, job.number, fsync=job.plan.options.fsync
                )
                self._opened = _Opened(job.token, BlockRunner(job.plan), writer, threading.Lock())
            return self._opened

    def holds(self, opened: _Opened) -> bool:
        """Tell whether that is what is open; whoever holds its lock keeps it so."""
        return self._opened is opened

    def close(self, token: str) -> None:
        with self._lock:
            if self._opened is not None and self._opened.token == token:
                self._close()

    def _close(self) -> None:
        """Let go of what is open, after the block in hand: another job may be computing it."""
        if self._opened is not None:
            with self._opened.lock:
                self._opened.runner.close()
        self._opened = None


_worker = _Worker()


def run_block(block: Block, job: BlockJob) -> BlockOutcome:
    """Compute one block in this process and leave its receipt: a task.

    Raises:
        RefreshError: If this process can't work for the job at all.
        Stopped: If the client asked for it.
    """
    while True:
        opened = _worker.open(job)
        with opened.lock:
            if not _worker.holds(opened):
                continue  # a task of another job was faster
            return attempt_block(
                opened.runner, opened.writer, block, lambda: job.token in _worker.stopped
            )


def request_stop(token: str) -> None:
    """Let this process end what it does for a job after the batch in hand."""
    _worker.stopped.add(token)


class RefreshPlugin(WorkerPlugin):
    """Opens data and network in each worker, those that join later too, before its first block.

    Args:
        job: The job.
        embedded: Whether the client's process owns the workers and ends them itself.
    """

    name = "scae-refresh"

    def __init__(self, job: BlockJob, *, embedded: bool) -> None:
        self._job = job
        self._embedded = embedded

    async def setup(self, worker: object) -> None:  # Dask's own signature
        """Open data and network; the worker goes on answering meanwhile."""
        if self._embedded:
            # Ctrl-C and a batch system's SIGTERM reach the whole process group, but the client
            # decides: it lets workers finish their batch and ends them then.
            for signum in (signal.SIGINT, signal.SIGTERM):
                signal.signal(signum, signal.SIG_IGN)
        await asyncio.to_thread(_worker.open, self._job)

    async def teardown(self, worker: object) -> None:  # Dask's own signature
        """Let data and network go, after the block in hand; the worker answers meanwhile."""
        await asyncio.to_thread(_worker.close, self._job.token)


def _check_process(job: BlockJob) -> None:
    """Refuse a process that would compute something else, or nothing at all."""
    host = socket.gethostname()
    ours = own_versions()
    differ = [
        f"{name} {ours[name]} there, {wanted} here"
        for name, wanted in job.versions.items()
        if ours[name] != wanted
    ]
    if differ:
        raise RefreshError(
            f"a worker on {host} has other versions than this process: {', '.join(differ)}; "
            "install the same on both"
        )
    try:
        resolve_device(job.plan.generation.provenance.device_type)
    except RefreshError as error:
        raise RefreshError(f"a worker on {host} can't be used: {error}") from error
