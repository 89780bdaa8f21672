"""A stand-in for SLURM, for tests of the scripts that use it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 240.0


class FakeSlurm:
    """A folder of commands that stand in for SLURM's, and what they did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        commands = folder / "bin"
        commands.mkdir(parents=True)
        fake = Path(__file__).parent / "fake_slurm.py"
        for name in ("sbatch", "srun", "scancel", "scontrol"):
            command = commands / name
            command.write_text(f'#!/bin/sh\nexec {sys.executable} -P {fake} {name} "$@"\n')
            command.chmod(0o755)
        programs = Path(sys.executable).parent
        self.environment = {
            **os.environ,
            "PATH": f"{commands}:{programs}:{os.environ['PATH']}",
            "FAKE_SLURM": str(folder),
            "PYTHONPATH": str(ROOT),
            "STAGGER_SECONDS": "1",
        }

    def run(self, *words: object) -> str:
        """Run a command and return what it prints."""
        done = subprocess.run(
            [str(word) for word in words],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def wait_for(self, job: int) -> list[int]:
        """Wait for a job's end and return the exit codes of its tasks."""
        ended = self.folder / "jobs" / f"{job}.code"
        until = time.monotonic() + PATIENCE_SECONDS
        while not ended.exists():
            assert time.monotonic() < until, self.log(job)
            time.sleep(0.1)
        return [int(code) for code in ended.read_text().split()]

    def log(self, job: int) -> str:
        """Return what a job printed."""
        return (self.folder / f"log-{job}").read_text()

    def calls(self) -> str:
        """Return all calls so far."""
        return (self.folder / "calls").read_text()
