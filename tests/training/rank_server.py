"""Starts ranks that may be killed at any step: a process that has imported everything, and forks.

Reads pickled jobs (name of a function here, number of ranks, port, arguments) from its input until
it gets None, and writes the ranks' exit codes, a line for each job. A process that has trained must
not fork, so the tests' own can't do this.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torchmetrics.functional.classification  # noqa: F401  # slow, and every rank wants it

from cache_store.errors import ScaeError
from pipeline.errors import Stopped
from pipeline.refresh.stopping import stop_on_signals
from pipeline.training.ranks import joined_ranks
from pipeline.training.setup import build_parts
from pipeline.training.trainer import TrainOptions, train

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.training.recipe import Recipe

PATIENCE_SECONDS = 120.0


def train_under_fire(
    recipe: Recipe, run: Path, strike: dict[str, Any] | None, options: dict[str, Any]
) -> None:
    """Train or go on with a run; end as the command does, or be struck down.

    Args:
        recipe: What to train.
        run: The run folder.
        strike: Which `signal` this `rank` gets, after how many `question`s whether to stop (one at
            each step, each batch of a measurement or of a refresh) and `delay` seconds.
        options: Further fields of `TrainOptions`.
    """
    asked = 0
    with stop_on_signals() as flag:

        def stop() -> bool:
            nonlocal asked
            asked += 1
            if strike and strike["rank"] == _rank() and asked == strike["question"]:
                hit = (os.getpid(), strike["signal"])
                threading.Timer(strike["delay"], os.kill, hit).start()
            return flag()

        try:
            quiet = {"log": lambda _line: None, **options}
            train(recipe, TrainOptions(run=run, resume=True, stop=stop, **quiet))
        except Stopped:
            raise SystemExit(75) from None


def deliver(recipe: Recipe, cache: Path, generations: list[int], folder: Path) -> None:
    """Save what this rank's loader delivers in each of some epochs."""
    with joined_ranks("cpu") as ranks:
        loader = build_parts(recipe, cache, ranks=ranks).loader
        epochs = []
        for epoch, generation in enumerate(generations):
            loader.set_epoch(epoch, generation)
            names = ("images", "labels", "indices", "draws", "events", "boxes", "erased")
            epochs.append(
                [{name: getattr(batch, name).clone() for name in names} for batch in loader]
            )
        torch.save(epochs, folder / f"{ranks.rank}-of-{ranks.size}.pt")


def fail_together(folder: Path) -> None:
    """Note what each rank hears when work fails on one of them."""
    heard = []
    with joined_ranks("cpu") as ranks:

        def work(failing: int, error: type[ScaeError]) -> int:
            if ranks.rank == failing:
                raise error(f"rank {failing} says no")
            return ranks.rank

        for ask, failing, error in (
            (ranks.together, 1, ScaeError),
            (ranks.together, 0, Stopped),
            (ranks.from_first, 0, ScaeError),
            (ranks.from_first, 9, ScaeError),
            (ranks.together, 9, ScaeError),
        ):
            try:
                heard.append(("none", str(ask(partial(work, failing, error)))))
            except ScaeError as raised:
                heard.append((type(raised).__name__, str(raised)))
        flags = ranks.any_of([ranks.rank == 1, False, True])
        (folder / f"{ranks.rank}.json").write_text(json.dumps([heard, flags]))


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _become(rank: int, num: int, port: int, work: str, arguments: tuple[Any, ...]) -> None:
    """Be one rank, in a process of its own; never returns."""
    code = 1
    try:
        torch.set_num_threads(1)
        os.environ |= {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": f"{num}"}
        os.environ |= {"LOCAL_WORLD_SIZE": f"{num}", "MASTER_ADDR": "127.0.0.1"}
        os.environ["MASTER_PORT"] = str(port)
        globals()[work](*arguments)
        code = 0
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    except ScaeError as error:
        print(f"rank {rank}: {error}", file=sys.stderr)  # noqa: T201
    except BaseException:  # noqa: BLE001  # whatever it was, this process must not become a server
        traceback.print_exc()
        code = 99
    finally:
        sys.stderr.flush()
        os._exit(code)


def _codes(processes: list[int]) -> list[int]:
    """Wait for processes; end them all when they take too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    codes: dict[int, int] = {}
    while len(codes) < len(processes):
        for process in processes:
            if process not in codes:
                ended, status = os.waitpid(process, os.WNOHANG)
                if ended:
                    codes[process] = os.waitstatus_to_exitcode(status)
                elif time.monotonic() > deadline:
                    os.kill(process, signal.SIGABRT)
        time.sleep(0.005)
    return [codes[process] for process in processes]


def main() -> None:
    """Do the jobs of the input, one after another."""
    while True:
        try:
            job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        if job is None:
            return
        work, num, port, arguments = job
        processes = []
        for rank in range(num):
            process = os.fork()
            if process == 0:
                _become(rank, num, port, work, arguments)
            processes.append(process)
        print(json.dumps(_codes(processes)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
