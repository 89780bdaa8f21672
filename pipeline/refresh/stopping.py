"""Turning SIGTERM and Ctrl-C into a request to stop, so that a job ends where it can be resumed."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


FORWARDED_SECONDS = 2.0
"""A second signal within this time is the first one again: launchers of several processes forward
what their whole process group has got."""


class StopFlag:
    """Remembers that a signal asked to stop; call it to ask."""

    def __init__(self) -> None:
        self._requested = False
        self._first = 0.0

    def __call__(self) -> bool:
        """Tell whether a stop was requested."""
        return self._requested

    def request(self, signum: int, _frame: FrameType | None) -> None:
        """Note the request; a later one acts as the signal usually does."""
        now = time.monotonic()
        if not self._requested:
            self._requested, self._first = True, now
        elif now - self._first > FORWARDED_SECONDS:
            if signum == signal.SIGINT:
                raise KeyboardInterrupt
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Give a flag that SIGTERM and SIGINT raise; earlier handlers are put back at the end."""
    flag = StopFlag()
    with handle_stop_signals(flag.request):
        yield flag


@contextmanager
def handle_stop_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let SIGTERM and SIGINT call a handler; earlier handlers are put back at the end."""
    earlier = {signum: signal.signal(signum, handler) for signum in STOP_SIGNALS}
    try:
        yield
    finally:
        for signum, before in earlier.items():
            signal.signal(signum, before)
