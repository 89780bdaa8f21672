"""One process at a time in a folder, by a lock that the kernel drops when the process dies."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import CantLock, FolderInUse


@contextmanager
def folder_lock(path: Path) -> Iterator[None]:
    """Hold a lock on a file; it stays there, with the process and the machine that held it last.

    A file that merely exists would outlive a killed process and have to be removed by hand; this
    lock ends with the process, however that ends. It is POSIX's and not flock's, which would also
    be held by the loader's workers until they notice that the process is gone.

    Args:
        path: The file; made if it is not there.

    Raises:
        FolderInUse: If another process holds it.
        CantLock: If the file can't be opened, or the file system has no locks.
    """
    try:
        opened = path.open("a+")
    except OSError as error:
        raise CantLock(
            f"can't open {path}: {error.strerror}; get the right to write there, or name another "
            "folder"
        ) from error
    with opened as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise FolderInUse(
                f"{holder} works in {path.parent} already: wait for it, stop it, or name another "
                "folder"
            ) from error
        except OSError as error:
            raise CantLock(f"can't lock {path}: {error.strerror}") from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
