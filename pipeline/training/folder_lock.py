"""One process at a time in a folder, by a lock that the kernel drops when the process dies."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import SweepError


@contextmanager
def folder_lock(path: Path) -> Iterator[None]:
    """Hold a lock on a file; it stays there, with the process and the machine that held it last.

    A file that merely exists would outlive a killed process and have to be removed by hand; this
    lock (flock) ends with the process, however that ends.

    Args:
        path: The file; made if it is not there.

    Raises:
        SweepError: If another process holds it, or the file can't be opened or locked.
    """
    try:
        opened = path.open("a+")
    except OSError as error:
        raise SweepError(f"can't open {path}: {error.strerror}") from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise SweepError(
                f"{holder} works in {path.parent} already: wait for it, stop it, or name another "
                "--runs"
            ) from error
        except OSError as error:
            raise SweepError(f"can't lock {path}: {error.strerror}; use a local folder") from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
