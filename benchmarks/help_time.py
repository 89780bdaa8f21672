"""How long `scae --help` takes, beside the least that any Python command takes.

Run: .venv/bin/python -P benchmarks/help_time.py [--rounds 15]
Fresh processes in turn: Python alone, with click, with torch, `scae --help`, `scae --version`, the
help of some commands, and a completion of the shell. Ends with 1 if the help has imported torch.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from pipeline.bench.tables import table

PYTHON = [sys.executable, "-P"]
SCAE = str(Path(sys.executable).parent / "scae")
COMMANDS = {
    "python, nothing imported": [*PYTHON, "-c", "pass"],
    "python, click imported": [*PYTHON, "-c", "import click"],
    "python, torch imported": [*PYTHON, "-c", "import torch"],
    "scae --help": [SCAE, "--help"],
    "scae --version": [SCAE, "--version"],
    "scae train --help": [SCAE, "train", "--help"],
    "scae refresh --help": [SCAE, "refresh", "--help"],
    "scae cache --help": [SCAE, "cache", "--help"],
    "a key press that completes a word": [
        "env",
        "_SCAE_COMPLETE=bash_complete",
        "COMP_WORDS=scae refresh --ne",
        "COMP_CWORD=2",
        SCAE,
    ],
}
HEAVY = ("torch", "zarr", "dask", "numpy")


def main() -> int:
    """Print medians and quartiles."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            begun = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - begun)
    rows = []
    for name, taken in seconds.items():
        low, middle, high = statistics.quantiles(taken, n=4)
        rows.append([name, f"{middle * 1e3:.0f} ms ({low * 1e3:.0f} to {high * 1e3:.0f})"])
    print(table(["command", "wall time (quartiles)"], rows))
    imported = imported_by_help()
    print(f"imported by scae --help: {', '.join(imported) or 'none'} of {', '.join(HEAVY)}")
    return 1 if "torch" in imported else 0


def imported_by_help() -> list[str]:
    """Return which heavy packages `scae --help` imports."""
    done = subprocess.run(
        [SCAE, "--help"],
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    names = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    return [name for name in HEAVY if name in names]


if __name__ == "__main__":
    sys.exit(main())
