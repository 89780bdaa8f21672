"""Starting the ranks of a run on this machine, by torchrun's own launcher.

torchrun itself ends with 1 whatever its processes end with; this keeps the code that says that a
run was stopped and can be resumed, which job scripts requeue on.
"""

import logging
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous.api import RendezvousError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from pipeline.errors import TrainingError

EXIT_FAILED, EXIT_BUG, EXIT_RESUMABLE = 1, 70, 75
"""Exit codes of a rank that failed, of one that failed for a reason that nobody has thought of, and
of one that was stopped and has written a checkpoint."""
SHUTDOWN_SECONDS = 600
"""How long ranks that were told to stop have for step and checkpoint, before they are killed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchOptions:
    """Which processes train together."""

    ranks: int
    """Processes on this machine."""
    nodes: int = 1
    """Machines, each with this command and as many processes."""
    rendezvous: str = "localhost:0"
    """HOST:PORT, the same for all machines, where HOST is one of them."""


def launch(command: Sequence[str], options: LaunchOptions) -> int:
    """Run a command as every rank, and wait for all of them.

    Args:
        command: Program and arguments; the environment tells each process its rank.
        options: How many, and where they meet.

    Returns:
        Their exit code: 0, `EXIT_RESUMABLE`, and `EXIT_FAILED` or `EXIT_BUG` if a rank failed,
        which has said why.

    Raises:
        TrainingError: If a rank was killed, or the machines did not meet.
    """
    _check_meeting(options)
    program, *arguments = command
    logging.disable(logging.ERROR)  # the launcher's own lines: what follows says it all
    try:
        elastic_launch(_config(options), program)(*arguments)
    except SignalException:  # passed on to the ranks, which have had their time to stop
        return EXIT_RESUMABLE
    except ChildFailedError as failed:
        return _code(failed)
    except RendezvousError as error:
        raise TrainingError(
            f"{options.nodes} machines did not meet at {options.rendezvous}: start the same "
            "command on each, with an address that all of them reach"
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    return 0


def _check_meeting(options: LaunchOptions) -> None:
    host, colon, port = options.rendezvous.rpartition(":")
    problem = "" if colon and port.isdecimal() else "it must be HOST:PORT"
    try:
        socket.getaddrinfo(host.strip("[]"), int(port) if port.isdecimal() else None)
    except (OSError, OverflowError) as error:
        problem = problem or str(error)
    if problem:
        raise TrainingError(
            f"can't meet at --rendezvous {options.rendezvous}: {problem}; name a machine of the "
            "run, as all of them know it, and a free port"
        )


def _config(options: LaunchOptions) -> LaunchConfig:
    settings: dict[str, Any] = {
        "min_nodes": options.nodes,
        "max_nodes": options.nodes,
        "nproc_per_node": options.ranks,
        "rdzv_backend": "c10d",
        "rdzv_endpoint": options.rendezvous,
        "run_id": "scae",
        "max_restarts": 0,
        "shutdown_timeout": SHUTDOWN_SECONDS,
    }
    known = {item.name for item in fields(LaunchConfig)}  # the last setting is new in torch 2.10
    return LaunchConfig(**{name: value for name, value in settings.items() if name in known})


def _code(failed: ChildFailedError) -> int:
    codes = {rank: failure.exitcode for rank, failure in failed.failures.items()}
    if EXIT_RESUMABLE in codes.values():
        return EXIT_RESUMABLE
    # The launcher itself ends the others by SIGTERM when one has failed or was killed.
    killed = {rank: -code for rank, code in codes.items() if code < 0 and -code != signal.SIGTERM}
    if not killed:
        return EXIT_BUG if EXIT_BUG in codes.values() else EXIT_FAILED
    rank, number = min(killed.items())
    raise TrainingError(
        f"rank {rank} was killed by {signal.Signals(number).name}; memory is a common cause (see "
        "dmesg): go on from the last checkpoint with the same command and --resume"
    ) from failed
