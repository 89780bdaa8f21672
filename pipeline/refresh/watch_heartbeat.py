"""The heartbeat of a watcher: a small JSON file that is whole at any time.

It tells people and monitors that the watcher lives, and a second watcher of the same run that it
is not needed yet. Neither trusts anybody's clock: what counts is whether the file changes.
"""

import json
import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.refresh.watch_status import WatchStatus
from pipeline.refresh.whole_file import write_whole

HEARTBEAT_VERSION = 1
"""Version of the file's fields."""
ENDED = ("done", "stopped", "failed")
"""States after which no watcher is there any more."""


class Heartbeat:
    """Writes the state of this watcher, reads that of another.

    Args:
        path: The file; its folder is made if it is not there.
        status: What is written.
        complain: Called with a message when the file can't be written; once until it can again.
    """

    def __init__(self, path: Path, status: WatchStatus, complain: Callable[[str], None]) -> None:
        self.path = path
        self._status = status
        self._complain = complain
        self._complained = False
        self._beats = 0
        self._instance = uuid.uuid4().hex
        self._started = _now()

    def write(self) -> None:
        """Write the present state; a full disk is told of, but stops nothing."""
        self._beats += 1
        fields = {
            "version": HEARTBEAT_VERSION,
            "time": _now(),
            "started": self._started,
            "instance": self._instance,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "beats": self._beats,
            **asdict(self._status),
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, json.dumps(fields, indent=2).encode() + b"\n", fsync=False)
        except OSError as error:
            if not self._complained:
                self._complain(f"can't write heartbeat {self.path}: {error.strerror}")
            self._complained = True
            return
        self._complained = False

    def other(self) -> dict[str, Any] | None:
        """Return the heartbeat of another watcher that has not ended, as far as one can tell."""
        try:
            fields = json.loads(self.path.read_bytes())
            instance, state = fields["instance"], fields["state"]
            host, pid = fields["host"], int(fields["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if instance == self._instance or state in ENDED:
            return None
        if host == socket.gethostname() and not _is_process(pid):
            return None  # killed: nobody wrote an end
        return dict(fields)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _is_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
