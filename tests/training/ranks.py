"""Runs of one or several ranks in processes of their own, which may be killed at any step."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

    from pipeline.training.recipe import Recipe

PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Strike:
    """A signal that one rank gets."""

    number: signal.Signals
    rank: int
    question: int
    """How often the rank has been asked whether to stop: at each step, each batch of a measurement
    or of a refresh."""
    delay: float
    """Seconds from then on."""


def run_ranks(work: Callable[..., None], num: int, *arguments: object) -> list[int]:
    """Call `work(*arguments)` as each of several ranks; return their exit codes.

    A process that has trained must not fork, so they come from a server that has only imported.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.training.trainer", "torchmetrics.classification"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    processes: list[ForkServerProcess] = [
        context.Process(target=_as_rank, args=(rank, num, port, work, arguments))
        for rank in range(num)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_SECONDS)
        if process.is_alive():
            process.kill()
            raise AssertionError(f"a rank is still there after {PATIENCE_SECONDS:.0f} s")
    return [process.exitcode or 0 for process in processes]


def _as_rank(
    rank: int, num: int, port: int, work: Callable[..., None], arguments: tuple[object, ...]
) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(num),
        "LOCAL_WORLD_SIZE": str(num),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    work(*arguments)


def train_under_fire(
    recipe: Recipe, run: Path, strike: Strike | None, options: dict[str, Any]
) -> None:
    """Train or go on with a run; exit as the command does, or be struck down."""
    from cache_store.errors import ScaeError
    from pipeline.errors import Stopped
    from pipeline.refresh.stopping import stop_on_signals
    from pipeline.training.trainer import TrainOptions, train

    asked = 0
    with stop_on_signals() as flag:

        def stop() -> bool:
            nonlocal asked
            asked += 1
            if strike and strike.rank == int(os.environ["RANK"]) and asked == strike.question:
                threading.Timer(strike.delay, os.kill, (os.getpid(), strike.number)).start()
            return flag()

        try:
            train(recipe, TrainOptions(run=run, resume=True, stop=stop, **options))
        except Stopped:
            sys.exit(75)
        except ScaeError as error:
            sys.exit(f"Error: {error}")
