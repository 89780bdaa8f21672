"""How much a command says: --quiet and --verbose, which mean the same everywhere."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum

import click

LOGGER = "scae"
"""The logger of all rooms."""
KEY = "scae.verbosity"
"""Where the choice is kept in a context: one place for a command and the groups that it is in."""


class Verbosity(IntEnum):
    """What a command shows; each value is the least level of log records that it shows."""

    VERBOSE = logging.DEBUG
    """Also what it does in detail, with the time."""
    NORMAL = logging.WARNING
    """Results, progress, warnings, errors."""
    QUIET = logging.ERROR
    """Results and errors."""


def verbosity() -> Verbosity:
    """Return what was asked for on the command line."""
    context = click.get_current_context(silent=True)
    chosen: Verbosity = (
        Verbosity.NORMAL if context is None else context.meta.get(KEY, Verbosity.NORMAL)
    )
    return chosen


def is_quiet() -> bool:
    """Tell whether only results and errors are wanted."""
    return verbosity() is Verbosity.QUIET


def say(text: str, end: str = "\n") -> None:
    """Show a line that is neither a result nor an error, unless --quiet says not to."""
    if not is_quiet():
        click.echo(f"{text}{end}", nl=False, err=True)


@contextmanager
def dots() -> Iterator[Callable[[str], None]]:
    """Give a function that shows a dot a call; their line ends with the block, also by an error."""
    try:
        yield lambda _what: say(".", end="")
    finally:
        say("")


def verbosity_options() -> list[click.Parameter]:
    """Return --quiet and --verbose; they go into the context, not to the command."""
    return [
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_chosen(Verbosity.QUIET),
            help="Show results and errors only.",
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_chosen(Verbosity.VERBOSE),
            help="Show each step with its time, and where an unexpected error comes from.",
        ),
    ]


@contextmanager
def shown_logs() -> Iterator[None]:
    """Show log records of all rooms as --quiet and --verbose ask."""
    chosen, logger = verbosity(), logging.getLogger(LOGGER)
    handler, level = _Shown(chosen), logger.level
    logger.addHandler(handler)
    if chosen is Verbosity.VERBOSE:
        logger.setLevel(logging.DEBUG)
    try:
        with warnings.catch_warnings():
            if chosen is Verbosity.QUIET:
                warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class _Shown(logging.Handler):
    """Shows records on standard error, above a bar if there is one.

    Args:
        chosen: What to show.
    """

    def __init__(self, chosen: Verbosity) -> None:
        super().__init__(chosen)
        text = "%(message)s"
        if chosen is Verbosity.VERBOSE:
            text = "%(asctime)s.%(msecs)03d %(module)s: %(message)s"
        self.setFormatter(logging.Formatter(text, datefmt="%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        """Show one."""
        warns = record.levelno >= logging.WARNING
        if warns and len(logging.getLogger(LOGGER).handlers) > 1:
            return  # a run tells its warnings itself, to its log file too
        click.echo(f"{'warning: ' if warns else ''}{self.format(record)}", err=True)


def _chosen(value: Verbosity) -> Callable[[click.Context, click.Parameter, bool], None]:
    def note(context: click.Context, _option: click.Parameter, given: bool) -> None:  # noqa: FBT001
        if not given:
            return
        if context.meta.setdefault(KEY, value) is not value:
            raise click.UsageError("only one of --quiet and --verbose can be given")

    return note
