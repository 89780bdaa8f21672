"""One process of a node does the work, the others wait: a claim file that names its owner.

The claim carries host, process id and the process' start time, so that the claim of a process that
was killed is told from a live one's, also after its id has been given to another process.
"""

import errno
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

CLAIM_SUFFIX = ".claim"
PARTIAL_SUFFIX = ".partial"
WAIT_SECONDS = 600.0
"""Longest wait for another process' work; after that it is done twice, which does no harm."""
FOREIGN_SECONDS = 86_400.0
"""Age from which a file of another host, whose processes can't be seen, counts as left behind."""
POLL_SECONDS = 0.01
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What link(2) answers on file systems without hard links."""

logger = logging.getLogger("scae")


def owner_name() -> str:
    """Return this process' name: host, process id and start time, joined by '+'."""
    return f"{_host()}+{os.getpid()}+{_start_time(os.getpid())}"


def partial_path(path: Path) -> Path:
    """Return a new sibling to write to, which says whose it is."""
    return path.with_name(f"{path.name}+{uuid.uuid4().hex[:8]}+{owner_name()}{PARTIAL_SUFFIX}")


def is_left_behind(path: Path) -> bool:
    """Tell whether a claim or partial file belongs to a process that is no more."""
    try:
        if path.name.endswith(CLAIM_SUFFIX):
            owner = path.read_text(errors="replace")
        else:
            owner = path.name.removesuffix(PARTIAL_SUFFIX)
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    host, pid, started = ["", "", "", *owner.split("+")][-3:]
    if host != _host() or not pid.isdecimal():
        return age > FOREIGN_SECONDS
    return _start_time(int(pid)) != started


def sweep_left_behind(folder: Path) -> None:
    """Remove what killed processes left in a folder of resident maps."""
    for path in folder.iterdir():
        if path.name.endswith((CLAIM_SUFFIX, PARTIAL_SUFFIX)) and is_left_behind(path):
            path.unlink(missing_ok=True)


@contextmanager
def claimed(path: Path, done: Callable[[], bool], wait_seconds: float) -> Iterator[bool]:
    """Wait until this process may make a file, or another one has made it.

    Args:
        path: The file to be made.
        done: Tells whether it is there.
        wait_seconds: Longest wait for a live claimer.

    Yields:
        Whether this process has to make it; False if another one has.
    """
    claim = path.with_name(path.name + CLAIM_SUFFIX)
    deadline = time.monotonic() + wait_seconds
    mine = _create(claim)
    while not mine and not done() and time.monotonic() < deadline:
        if is_left_behind(claim):
            _take_away(claim)
        else:
            time.sleep(POLL_SECONDS)
        mine = _create(claim)
    if not mine and not done():
        logger.warning(
            "%s is still held after %.0f s: doing its work here too", claim, wait_seconds
        )
    try:
        # Another process may have finished between the look and the claim.
        yield not done()
    finally:
        if mine:
            claim.unlink(missing_ok=True)


def _create(claim: Path) -> bool:
    """Create the claim with its content in one step."""
    partial = partial_path(claim)
    try:
        partial.write_text(owner_name())
        os.link(partial, claim)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _create_empty_first(claim)
    finally:
        partial.unlink(missing_ok=True)
    return True


def _create_empty_first(claim: Path) -> bool:
    """Do the same where files can't be linked; who looks too early takes the owner for alive."""
    try:
        with claim.open("x") as file:
            file.write(owner_name())
    except FileExistsError:
        return False
    return True


def _take_away(claim: Path) -> None:
    """Remove a dead process' claim; of several that try, one moves it, the others find nothing."""
    moved = partial_path(claim)
    try:
        claim.rename(moved)
    except FileNotFoundError:
        return
    # A faster process may have put its own claim there since we looked: that one goes back.
    if _owner_is_alive(moved):
        try:
            os.link(moved, claim)
        except FileExistsError:
            logger.debug("%s was claimed twice: its work is done twice", claim)
    moved.unlink(missing_ok=True)


def _owner_is_alive(moved: Path) -> bool:
    host, pid, started = ["", "", "", *moved.read_text(errors="replace").split("+")][-3:]
    return host == _host() and pid.isdecimal() and _start_time(int(pid)) == started


@cache
def _host() -> str:
    return socket.gethostname().replace("/", "-").replace("+", "-")


def _start_time(pid: int) -> str:
    """Return a process' start time in clock ticks since boot, '' if there is no such process."""
    try:
        # The second field, the command's name, may hold blanks and brackets: count after its end.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        pass
    return "?"  # no /proc on this system: alive is all that can be said
