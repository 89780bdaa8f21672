"""Refreshes that a process of its own makes, one after another, while this one does other work.

It is a process and not a thread, so that building networks and talking to a cluster can't touch
this one's random numbers, forks or time. It ends when this one does, however that comes.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from pipeline.errors import RefreshError
from pipeline.refresh.dask_cluster import ClusterOptions
from pipeline.refresh.plan import RefreshPlan

CLOSE_SECONDS = 10.0
"""How long the process may take to end when asked; it is killed then."""
HOW_FAR = "how far?"
"""Message to the process: tell the images done, and in all, of the refresh in hand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BackgroundJob:
    """A refresh that is to be made."""

    key: int
    """What it is called, such as its epoch."""
    plan: RefreshPlan
    """What to make; weights are read from the file that it names."""
    cluster: ClusterOptions
    """Who computes."""
    newest_only: bool
    """Leave it out if a later one is there before its turn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a refresh ended. An error as words: not every exception can be sent."""

    key: int
    """Its job's key."""
    generation: int | None = None
    """Number of the published generation; None without one, also if it was left out."""
    seconds: float = 0.0
    """Wall time."""
    error: str | None = None
    """What went wrong."""
    resumable: bool = False
    """Whether that was a stop, after which the same job goes on."""


class BackgroundRefreshes:
    """Makes maps in the background; to be closed. The process starts with the first job.

    Args:
        cluster: Who computes.
        newest_only: Leave out a refresh that a later one overtakes before its turn.
    """

    def __init__(self, cluster: ClusterOptions, *, newest_only: bool = False) -> None:
        self._cluster = cluster
        self._newest_only = newest_only
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None
        self._ended: dict[int, Ended] = {}
        self._asked = False
        self.progress: tuple[int, int] | None = None
        """Images done and in all of the refresh in hand, as of the last look; None: not known."""

    @property
    def process_id(self) -> int | None:
        """Id of the process, None before the first job and after the end."""
        return None if self._process is None else self._process.pid

    def submit(self, key: int, plan: RefreshPlan) -> None:
        """Let a plan be made after those before it.

        Raises:
            RefreshError: If the process is dead.
        """
        if self._connection is None:
            self._connection = self._start()
        job = BackgroundJob(
            key=key, plan=plan, cluster=self._cluster, newest_only=self._newest_only
        )
        self._send(self._connection, job)

    def look(self, key: int) -> Ended | None:
        """Return how a job ended, None if it has not; ask how far the one in hand is.

        Raises:
            RefreshError: If the process is dead.
        """
        if self._connection is not None:
            self._hear(self._connection)
            if key not in self._ended and not self._asked:
                self._asked = True
                self._send(self._connection, HOW_FAR)
        return self._ended.get(key)

    def close(self) -> None:
        """Stop what is in hand, which can be resumed, and end the process."""
        if self._connection is None or self._process is None:
            return
        self._connection.close()  # it stops at that
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._connection = self._process = None

    def _start(self) -> "Connection[Any, Any]":
        ours, theirs = Pipe()
        # As `multiprocessing` does, but without importing the caller's main module once more.
        paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "pipeline.refresh.background_process"),
                    *(str(theirs.fileno()), str(os.getpid())),
                ],
                stdin=subprocess.DEVNULL,
                stdout=2,  # whatever it may print is no result of this one
                pass_fds=[theirs.fileno()],
                env={**os.environ, **paths},
            )
        return ours

    def _hear(self, connection: "Connection[Any, Any]") -> None:
        try:
            while connection.poll():
                message = connection.recv()
                if isinstance(message, Ended):
                    self._ended[message.key] = message
                else:
                    self.progress, self._asked = message, False
        except (EOFError, ConnectionError) as error:
            raise self._died() from error

    def _send(self, connection: "Connection[Any, Any]", message: object) -> None:
        try:
            connection.send(message)
        except ConnectionError as error:
            raise self._died() from error

    def _died(self) -> RefreshError:
        code = None if self._process is None else self._process.wait()
        return RefreshError(
            f"the process that makes maps in the background ended with code {code} (a negative one "
            "is a signal's number; its own messages are above): what is done stays done"
        )
