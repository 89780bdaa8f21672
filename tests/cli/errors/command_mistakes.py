"""Mistakes with any command: names, options, and a machine that lacks what it needs."""

from __future__ import annotations

import errno
import tempfile
from typing import TYPE_CHECKING

from cache_store.store import SaliencyStore
from tests.cli.errors.provoke import Mistake

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.errors.provoke import Place


def _opening_raises(error: Exception) -> Callable[[Place], None]:
    """Let whatever opens a cache fail in a way that no message was written for."""

    def opened(*_: object, **__: object) -> None:
        raise error

    def prepare(place: Place) -> None:
        place.patch.setattr(SaliencyStore, "open", opened)
        place.patch.setattr(tempfile, "tempdir", str(place.tmp))

    return prepare


COMMAND_MISTAKES = (
    Mistake(
        "command-misspelt",
        "refesh --data shapes",
        "has no command 'refesh'",
        "did you mean scae refresh?",
        "cli/lazy_group.py::LazyGroup.resolve_command",
        code=2,
    ),
    Mistake(
        "option-misspelt",
        "refresh --dat shapes",
        "No such option '--dat'",
        "Did you mean one of: '--data'",
        "",
        code=2,
    ),
    Mistake(
        "option-missing",
        "refresh --data shapes --cache {tmp}/new.zarr --network resnet8",
        "Missing option '--weights'",
        "--weights",
        "",
        code=2,
    ),
    Mistake(
        "option-out-of-range",
        "bench loader --rounds 1",
        "Invalid value for '--rounds': 1 is not in the range x>=3",
        "x>=3",
        "",
        code=2,
    ),
    Mistake(
        "choice-misspelt",
        "train --device gpu --run {tmp}/new",
        "Invalid value for '--device': 'gpu' is not one of 'auto', 'cpu', 'cuda'",
        "one of 'auto', 'cpu', 'cuda'",
        "",
        code=2,
    ),
    Mistake(
        "two-schedulers",
        "doctor --scheduler tcp://x:1 --scheduler-file {tmp}/scheduler.json",
        "only one of --scheduler and --scheduler-file can be given",
        "only one of",
        "cli/cluster_options.py::require_scheduler",
        code=2,
    ),
    Mistake(
        "disk-full",
        "cache info {cache}",
        "No space left on device: maps.zarr",
        "make room there, and run the same command again",
        "",
        prepare=_opening_raises(OSError(errno.ENOSPC, "No space left on device", "maps.zarr")),
    ),
    Mistake(
        "part-of-installation-missing",
        "cache info {cache}",
        "a part of the installation can't be imported (no zstd)",
        "see scae doctor, and install scae anew",
        "",
        prepare=_opening_raises(ImportError("no zstd")),
    ),
    Mistake(
        "bug",
        "cache info {cache}",
        "unexpected ZeroDivisionError: by nought; this is a bug in scae",
        "or see the traceback by --verbose",
        "",
        code=70,
        prepare=_opening_raises(ZeroDivisionError("by nought")),
    ),
    Mistake(
        "quiet-and-verbose",
        "cache info {cache} --quiet --verbose",
        "only one of --quiet and --verbose can be given",
        "only one of",
        "cli/verbosity.py::_chosen.note",
        code=2,
    ),
    Mistake(
        "completion-unknown",
        "completion fish",
        "this version of click completes nothing in fish",
        "this version of click",
        "cli/completion.py::completion_command",
        code=2,
        prepare=lambda place: place.patch.setattr(
            "cli.completion.get_completion_class", lambda _shell: None
        ),
    ),
    Mistake(
        "bench-rival",
        "bench loader --without nobody",
        "without must name",
        "got nobody",
        "pipeline/bench/loader_speed.py::LoaderOptions.__post_init__#2",
    ),
    Mistake(
        "bench-refresh-rival",
        "bench refresh --without nobody",
        "without must name",
        "got nobody",
        "pipeline/bench/refresh_speed.py::SpeedOptions.__post_init__#3",
    ),
)
