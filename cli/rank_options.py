"""Options of a command that several processes may run together, and what follows from them."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from cli.commands import EXIT_FAILED, EXIT_RESUMABLE

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


def without_stack_traces() -> None:
    """Keep torch from warning of connections with stack traces; call this before its import."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def start_ranks(options: dict[str, Any]) -> None:
    """Start this command as several processes if `rank_options` say so, and leave with their code.

    Raises:
        TrainingError: If a rank was killed, or the machines did not meet.
    """
    if options["ranks"] * options["nodes"] == 1 or "LOCAL_RANK" in os.environ:
        return
    from pipeline.training.launch import LaunchOptions, launch

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
