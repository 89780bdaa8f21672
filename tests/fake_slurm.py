"""Stands in for SLURM: `sbatch` runs the script here, at once, in a process group of its own.

The first word says which command it is. State lies in $FAKE_SLURM: `jobs/ID` with the process group
of each running job, `jobs/ID.code` with the tasks' exit codes of each that has ended, `log-ID` with
what it printed, and `calls`, one line for each call.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

FOLDER = Path(os.environ["FAKE_SLURM"])
JOBS = FOLDER / "jobs"
MAX_REQUEUES = 5


@dataclass(frozen=True)
class Task:
    """One run of a script: a job, or one task of an array job."""

    script: Path
    arguments: list[str]
    job: int
    index: int | None
    count: int
    options: dict[str, str]

    def start(self) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "SLURM_JOB_ID": str(self.job),
            "SLURM_NTASKS": self.options.get("--ntasks", "1"),
            "SLURM_CPUS_PER_TASK": self.options.get("--cpus-per-task", "1"),
        }
        if self.index is not None:
            environment |= {
                "SLURM_ARRAY_JOB_ID": str(self.job),
                "SLURM_ARRAY_TASK_ID": str(self.index),
                "SLURM_ARRAY_TASK_COUNT": str(self.count),
            }
        return subprocess.Popen(["bash", str(self.script), *self.arguments], env=environment)

    def finish(self, process: subprocess.Popen[bytes]) -> int:
        name = str(self.job) if self.index is None else f"{self.job}_{self.index}"
        for _ in range(MAX_REQUEUES):
            code = process.wait()
            requeued = JOBS / f"{name}.requeue"
            if not requeued.exists():
                return code
            requeued.unlink()
            process = self.start()
        return process.wait()


def main() -> int:
    JOBS.mkdir(parents=True, exist_ok=True)
    command, *words = sys.argv[1:]
    with (FOLDER / "calls").open("a") as calls:
        calls.write(" ".join([command, *words]) + "\n")
    return {"sbatch": sbatch, "srun": srun, "scancel": scancel, "scontrol": scontrol}[command](
        words
    )


def sbatch(words: list[str]) -> int:
    at = _script_at(words)
    script, *arguments = words[at:]
    chosen = {**_directives(script), **dict(_split(option) for option in words[:at])}
    job = _next_number()
    answer = str(job) if "--parsable" in chosen else f"Submitted batch job {job}"
    os.write(1, f"{answer}\n".encode())
    copy = FOLDER / f"script-{job}"  # as SLURM does: the script runs from its spool
    copy.write_text(Path(script).read_text())
    indices = _indices(chosen.get("--array"))
    tasks = [Task(copy, arguments, job, index, len(indices), chosen) for index in indices]
    if not os.fork():
        _supervise(job, tasks, chosen.get("--dependency", ""))
    return 0


def _supervise(job: int, tasks: list[Task], dependency: str) -> NoReturn:
    os.setsid()
    (JOBS / str(job)).write_text(str(os.getpid()))
    log = os.open(FOLDER / f"log-{job}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream in (1, 2):
        os.dup2(log, stream)
    _await(dependency)
    running = [task.start() for task in tasks]
    codes = [task.finish(process) for task, process in zip(tasks, running, strict=True)]
    (JOBS / str(job)).unlink()
    partial = JOBS / f"{job}.partial"
    partial.write_text(" ".join(map(str, codes)))
    partial.rename(JOBS / f"{job}.code")
    os._exit(0)


def srun(words: list[str]) -> int:
    at = _script_at(words)
    options = dict(_split(word) for word in words[:at])
    count = int(options.get("--ntasks") or os.environ.get("SLURM_NTASKS", "1"))
    if "SLURM_ARRAY_TASK_ID" in os.environ:
        count = 1
    started = [
        subprocess.Popen(words[at:], env={**os.environ, "SLURM_PROCID": str(rank)})
        for rank in range(count)
    ]

    def forward(signum: int, _frame: object) -> None:
        for process in started:
            process.send_signal(signum)

    signal.signal(signal.SIGTERM, forward)
    return max(process.wait() for process in started)


def scancel(words: list[str]) -> int:
    for word in words:
        job = JOBS / word
        if word.isdecimal() and job.exists():
            os.killpg(int(job.read_text()), signal.SIGKILL)
            job.unlink()
    return 0


def scontrol(words: list[str]) -> int:
    action, name = words
    if action == "requeue":
        (JOBS / f"{name}.requeue").touch()
    return 0


def _script_at(words: list[str]) -> int:
    return next(at for at, word in enumerate(words) if not word.startswith("-"))


def _split(option: str) -> tuple[str, str]:
    name, _, value = option.partition("=")
    return name, value


def _directives(script: str) -> dict[str, str]:
    found = re.findall(r"^#SBATCH +(--?\S+?)(?:[= ](\S+))? *$", Path(script).read_text(), re.M)
    return dict(found)


def _indices(array: str | None) -> list[int | None]:
    if not array:
        return [None]
    first, _, last = array.partition("-")
    return list(range(int(first), int(last or first) + 1))


def _await(dependency: str) -> None:
    _, _, number = dependency.partition(":")
    while number and not (JOBS / f"{number}.code").exists():
        time.sleep(0.1)


def _next_number() -> int:
    for number in range(1, 10_000):
        try:
            (FOLDER / f"claimed-{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        return number
    raise SystemExit("too many jobs")


if __name__ == "__main__":
    sys.exit(main())
