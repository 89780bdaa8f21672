"""How errors end a command: one line, the cure, and an exit code that scripts can tell apart."""

import errno
import platform
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

import click

from cache_store.errors import ScaeError
from cli.verbosity import Verbosity, verbosity

EXIT_FAILED = 1
"""The command failed for a reason that its message names."""
EXIT_BUG = 70
"""The command failed for a reason that nobody has thought of (EX_SOFTWARE)."""
EXIT_RESUMABLE = 75
"""The command was stopped and can be resumed by running it again (EX_TEMPFAIL)."""

CURES = {
    errno.ENOSPC: "make room there, and run the same command again",
    errno.EDQUOT: "make room there, and run the same command again",
    errno.EACCES: "see its permissions",
    errno.EPERM: "see its permissions",
    errno.EROFS: "name a place that can be written to",
    errno.EMFILE: "allow more open files (ulimit -n)",
}
"""What to do about what the operating system refuses."""


@contextmanager
def errors_in_one_line(context: click.Context) -> Iterator[None]:
    """End the command in one line and the right exit code, whatever goes wrong in the block."""
    try:
        yield
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except ScaeError as error:
        _end(context, error, str(error), _code(error))
    except (OSError, MemoryError, ImportError) as error:
        if isinstance(error, BrokenPipeError):  # who reads has seen enough, which click knows
            raise
        _end(context, error, *_surroundings(error))
    except Exception as error:  # noqa: BLE001  # nobody should have to read a traceback
        if _is_memory(error):
            _end(context, error, *_surroundings(MemoryError(error)))
        _end(context, error, _bug(error), EXIT_BUG)


def _is_memory(error: Exception) -> bool:
    """Tell torch's errors about memory; torch may not be there to ask for their classes."""
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)


def _code(error: ScaeError) -> int:
    return EXIT_RESUMABLE if type(error).__name__ == "Stopped" else EXIT_FAILED


def _end(context: click.Context, error: Exception, message: str, code: int) -> NoReturn:
    if verbosity() is Verbosity.VERBOSE and not isinstance(error, ScaeError):
        click.echo("".join(traceback.format_exception(error)), err=True)
    click.echo(f"Error: {' '.join(message.split())}", err=True)
    context.exit(code)


def _surroundings(error: OSError | MemoryError | ImportError) -> tuple[str, int]:
    """Return what machine or installation refuse, with the cure where one is known, and the code.

    An error of that kind that doesn't come from them is a bug.
    """
    if isinstance(error, MemoryError):
        why = str(error) or "there is no more"
        return f"out of memory ({why}): use smaller batches or fewer workers", EXIT_FAILED
    if isinstance(error, ImportError):
        cure = "see scae doctor, and install scae anew"
        return f"a part of the installation can't be imported ({error}): {cure}", EXIT_FAILED
    if error.errno is None or error.strerror is None:
        return _bug(error), EXIT_BUG
    place = "" if error.filename is None else f" {error.filename}"
    cure = CURES.get(error.errno, "run it again with --verbose to see where")
    return f"{error.strerror}{':' if place else ''}{place}; {cure}", EXIT_FAILED


def _bug(error: Exception) -> str:
    """Keep the traceback in a file, and say where that is."""
    what = f"unexpected {type(error).__name__}: {error}; this is a bug in scae {version('scae')}"
    try:
        place = _written(error)
    except OSError as refused:
        return f"{what}: report it with what --verbose shows (no file: {refused.strerror})"
    return f"{what}: report it with {place}, or see the traceback by --verbose"


def _written(error: Exception) -> Path:
    text = [
        f"command: {' '.join(sys.argv)}\n",
        f"scae {version('scae')}, Python {platform.python_version()}, {platform.platform()}\n\n",
        *traceback.format_exception(error),
    ]
    with tempfile.NamedTemporaryFile("w", prefix="scae-bug-", suffix=".txt", delete=False) as file:
        file.writelines(text)
    return Path(file.name)
