"""What happens in a run, told once to all who listen: the user, log.jsonl, TensorBoard.

A process that is not the first of its run has nobody listening.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from pipeline.errors import Stopped, TrainingError
from pipeline.refresh.event_line import event_line

WARNING = "warning: "
"""How lines for the user begin that warn."""
RESULT, END = "result", "end"
"""Events whose lines are a run's final figures, and where they are."""
BEGINNINGS = ("start", "resume")
"""Events that each process of a run begins with, one of them."""

Fields = Mapping[str, Any]


class Sink(Protocol):
    """Somebody who listens."""

    def write(self, event: str, text: str, fields: Fields) -> None:
        """Take note of an event.

        Args:
            event: What happened, in one word.
            text: A line for the user, or nothing.
            fields: JSON values.

        Raises:
            OSError: If that is not possible.
        """

    def close(self) -> None:
        """Finish what is written."""


class RunLog:
    """Tells everything to every sink; calling it tells a line for the user.

    A sink that can't be written to is left out from then on, and the others are told.

    Args:
        sinks: Who listens.
    """

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = list(sinks)

    def add(self, *sinks: Sink) -> None:
        """Let others listen from now on."""
        self._sinks += sinks

    def __call__(self, text: str) -> None:
        """Tell a line for the user; one that begins with `WARNING` is a warning."""
        warns = text.startswith(WARNING)
        self.tell("warning" if warns else "message", text)

    def tell(self, event: str, text: str = "", **fields: Any) -> None:  # noqa: ANN401  # JSON values
        """Tell an event.

        Args:
            event: What happened, in one word.
            text: A line for the user, or nothing.
            fields: JSON values.
        """
        failed: dict[Sink, OSError] = {}
        for sink in self._sinks:
            try:
                sink.write(event, text, fields)
            except OSError as error:
                failed[sink] = error
        self._sinks = [sink for sink in self._sinks if sink not in failed]
        for sink, why in failed.items():
            self(
                f"{WARNING}can't write {sink} ({why.strerror or why}): the run goes on without "
                "it; make room, and stop and --resume to have it again"
            )

    def close(self) -> None:
        """Finish what is written."""
        for sink in self._sinks:
            sink.close()


class Lines:
    """Shows the lines for the user.

    Args:
        show: Called with each.
        quiet: Show none but the final figures.
    """

    def __init__(self, show: Callable[[str], None], *, quiet: bool = False) -> None:
        self._show = show
        self._quiet = quiet

    def write(self, event: str, text: str, fields: Fields) -> None:
        """Show the line, if there is one."""
        if text and (event in (RESULT, END) or not self._quiet):
            self._show(text)

    def close(self) -> None:
        """Do nothing."""


class JsonLines:
    """Appends each event as one line of JSON, whole as long as the disk takes it.

    A line that a power cut or a full disk has torn is cut off when the file is opened again.

    Args:
        path: The file.

    Raises:
        TrainingError: If it can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            _cut_torn_line(path)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise TrainingError(
                f"can't write log {path}: {error.strerror}; see its permissions, or name another "
                "--run"
            ) from error

    def __str__(self) -> str:
        return str(self._path)

    def write(self, event: str, text: str, fields: Fields) -> None:
        """Append the event."""
        line = event_line(event, {**({"text": text} if text else {}), **fields}).encode()
        # In one piece: a kill comes before it or after it.
        if self._file.write(line) != len(line):
            raise OSError("the disk took a part of a line")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)


class _Warnings(logging.Handler):
    """Tells warnings of the package's logger, wherever they come from."""

    def __init__(self, log: RunLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one."""
        self._log(f"{WARNING}{record.getMessage()}")


@contextmanager
def telling(log: RunLog) -> Iterator[RunLog]:
    """Give the log, with warnings among it; tell how the run ended if not well, and close it."""
    with ExitStack() as stack:
        stack.callback(log.close)
        logger, handler = logging.getLogger("scae"), _Warnings(log)
        logger.addHandler(handler)
        stack.callback(logger.removeHandler, handler)
        try:
            yield log
        except Stopped as stopped:
            log.tell("stopped", message=str(stopped))
            raise
        except Exception as error:
            log.tell("failed", kind=type(error).__name__, message=str(error))
            raise
