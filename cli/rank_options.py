"""Options of a command that several processes may run together, and what follows from them."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from cli.error_boundary import EXIT_FAILED, EXIT_RESUMABLE

LOG_LEVEL = "TORCH_CPP_LOG_LEVEL"
"""Environment variable that says what torch's C++ code prints."""

Function = TypeVar("Function", bound=Callable[..., Any])


def rank_options(function: Function) -> Function:
    """Add the options that start several processes."""
    options = [
        click.option(
            "--ranks",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="Processes on this machine that train together, one for each GPU.",
        ),
        click.option(
            "--nodes",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="Machines that run this same command and train together.",
        ),
        click.option(
            "--rendezvous",
            metavar="HOST:PORT",
            default="localhost:0",
            help="With --nodes: where they meet; HOST is one of them.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def start_ranks(options: dict[str, Any], check: Callable[[], object]) -> None:
    """Start this command as several processes if `rank_options` say so, and leave with their code.

    Args:
        options: The command's options.
        check: Raises what is wrong with the rest of them: said here, it is said once.

    Raises:
        TrainingError: If a rank was killed, or the machines did not meet.
    """
    if options["ranks"] * options["nodes"] == 1 or "LOCAL_RANK" in os.environ:
        return
    # Read when torch is imported. A meeting that fails is told in our words; torch adds stack
    # traces. The ranks have their level as it was.
    level = os.environ.get(LOG_LEVEL)
    os.environ[LOG_LEVEL] = level or "FATAL"
    from pipeline.training.launch import LaunchOptions, launch

    if level is None:
        del os.environ[LOG_LEVEL]
    check()
    together = LaunchOptions(**{key: options[key] for key in ("ranks", "nodes", "rendezvous")})
    sys.exit(launch([sys.executable, *sys.argv], together))


@contextmanager
def said_once() -> Iterator[None]:
    """Let errors through on one rank only: the one that failed, or the first one when all stop."""
    from pipeline.errors import OtherRankFailed, Stopped

    try:
        yield
    except OtherRankFailed:
        sys.exit(EXIT_FAILED)
    except Stopped:
        if os.environ.get("RANK", "0") == "0":
            raise
        sys.exit(EXIT_RESUMABLE)
