"""The process behind `background`: makes the maps that it is told to, until nobody listens.

Signals do not end it: those that go to a whole job or terminal reach the process that started it
too, which then closes the connection.
"""

import os
import sys
import time
from collections import deque
from multiprocessing.connection import Connection
from typing import Any

from cache_store.errors import ScaeError
from loaders.image_data import ImageData
from pipeline.errors import Stopped
from pipeline.refresh.background import BackgroundJob, Ended
from pipeline.refresh.dask_executor import DaskExecutor
from pipeline.refresh.job import execute
from pipeline.refresh.progress import RefreshProgress
from pipeline.refresh.sources import DataSource
from pipeline.refresh.stopping import handle_stop_signals

IDLE_SECONDS = 0.2
"""How often a process without work looks whether there is some, or nobody left."""


class BackgroundProcess:
    """Makes one refresh after another.

    Args:
        connection: To the process that wants them.
        parent: Its id.
    """

    def __init__(self, connection: "Connection[Any, Any]", parent: int) -> None:
        self._connection = connection
        self._parent = parent
        self._deserted = False
        self._jobs: deque[BackgroundJob] = deque()
        self._progress: tuple[int, int] | None = None
        self._opened: tuple[DataSource, ImageData] | None = None

    def run(self) -> None:
        """Work until the other process ends or closes the connection."""
        while not self._is_over():
            if self._jobs:
                self._tell(self._do(self._jobs.popleft()))
            else:
                time.sleep(IDLE_SECONDS)

    def _do(self, job: BackgroundJob) -> Ended:
        if job.newest_only and self._jobs:
            return Ended(key=job.key)
        begun = time.perf_counter()
        try:
            report = execute(
                job.plan,
                DaskExecutor(job.cluster),
                opened=self._data(job.plan.data),
                progress=self._note,
                stop=self._is_over,
            )
        except (ScaeError, OSError) as error:
            named = "" if isinstance(error, ScaeError) else f"{type(error).__name__}: "
            resumable = isinstance(error, Stopped)
            return Ended(key=job.key, error=f"{named}{error}", resumable=resumable)
        finally:
            self._progress = None
        seconds = time.perf_counter() - begun
        return Ended(key=job.key, generation=report.generation.number, seconds=seconds)

    def _data(self, source: DataSource) -> ImageData:
        if self._opened is None or self._opened[0] != source:
            self._opened = (source, source.open())
        return self._opened[1]

    def _note(self, state: RefreshProgress) -> None:
        self._progress = (state.rows_done, state.rows_total)

    def _is_over(self) -> bool:
        """Take in what there is to hear, also amid a refresh; tell whether nobody listens."""
        self._deserted = self._deserted or os.getppid() != self._parent
        try:
            while not self._deserted and self._connection.poll():
                message = self._connection.recv()
                if isinstance(message, BackgroundJob):
                    self._jobs.append(message)
                else:
                    self._connection.send(self._progress)
        except (EOFError, ConnectionError):
            self._deserted = True
        return self._deserted

    def _tell(self, ended: Ended) -> None:
        try:
            self._connection.send(ended)
        except ConnectionError:
            self._deserted = True


def main() -> None:
    """Serve the process that started this one, by the inherited connection that it names."""
    descriptor, parent = map(int, sys.argv[1:])
    with handle_stop_signals(lambda _signum, _frame: None), Connection(descriptor) as connection:
        BackgroundProcess(connection, parent).run()


if __name__ == "__main__":
    main()
