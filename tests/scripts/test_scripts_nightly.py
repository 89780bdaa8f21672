"""The nightly refresh, run as cron runs it: its steps, lock, log and exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from cache_store.store import SaliencyStore
from pipeline.refresh.sources import NetworkSource
from pipeline.saliency.weights import state_digest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "scripts" / "nightly_refresh.sh"
OPTIONS = ("--data", "photos", "--cache", "my maps.zarr", "--network", "resnet8")
# Notes its words, then does what FAKE says of the step: a line of shell.
FAKE_SCAE = """#!/bin/bash
printf '%s|' "$@" >>"$NIGHTS/calls"; echo >>"$NIGHTS/calls"
echo "this is $1"
[ "$1" = cache ] && shift
{fake}
"""


class Nights:
    """A folder with a stand-in for scae, in which the script is run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "my logs"
        self.environment = {
            **os.environ, "NIGHTS": str(folder), "LOGS": str(self.logs), "SCAE": "./scae",
        }  # fmt: skip
        self.fake("true")

    def fake(self, line: str) -> None:
        """Make the stand-in do something."""
        scae = self.folder / "scae"
        scae.write_text(FAKE_SCAE.format(fake=line))
        scae.chmod(0o755)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a night."""
        return subprocess.Popen(
            [SCRIPT, *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str]:
        """Return how a night ended and what it printed."""
        started = self.start(*(words or (*OPTIONS, "--weights", "w.pth")))
        printed, errors = started.communicate(timeout=60)
        assert printed == ""
        return started.returncode, errors

    def calls(self) -> list[list[str]]:
        """Return the words of each call of scae."""
        path = self.folder / "calls"
        if not path.exists():
            return []
        return [line.split("|")[:-1] for line in path.read_text().splitlines()]

    def wait_for(self, name: str) -> str:
        """Wait until the stand-in has written a file, and return what it says."""
        path, until = self.folder / name, time.monotonic() + 30
        while not path.exists() or not path.read_text():
            assert time.monotonic() < until
            time.sleep(0.02)
        return path.read_text()

    def log(self) -> str:
        """Return what today's log says."""
        return (self.logs / f"refresh-{date.today()}.log").read_text()


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    folder = tmp_path / "nights"
    folder.mkdir()
    return Nights(folder)


def test_a_night_refreshes_verifies_then_removes_and_prints_nothing(nights: Nights) -> None:
    nights.environment["KEEP"] = "5"
    assert nights.run() == (0, "")
    assert nights.calls() == [
        ["refresh", *OPTIONS, "--weights", "w.pth"],
        ["cache", "verify", "my maps.zarr"],
        ["cache", "gc", "my maps.zarr", "--keep", "5"],
    ]
    assert "this is refresh\n" in nights.log()
    assert nights.log().count("ended with 0") == 3


@pytest.mark.parametrize(
    ("fake", "code", "steps"),
    [
        ('[ "$1" != refresh ] || { echo "Error: no data"; exit 1; }', 1, 1),
        ('[ "$1" != verify ] || { echo "damaged  x"; exit 1; }', 1, 2),
        ('[ "$1" != gc ] || { echo "Error: no cache"; exit 1; }', 1, 3),
        ('[ "$1" != refresh ] || { echo "Error: no option"; exit 2; }', 2, 1),
        ('[ "$1" != refresh ] || exit 75', 75, 1),
    ],
    ids=["refresh-fails", "damaged", "gc-fails", "wrong-usage", "stopped"],
)
def test_a_step_that_fails_ends_the_night_before_anything_is_removed(
    fake: str, code: int, steps: int, nights: Nights
) -> None:
    nights.fake(fake)
    found, errors = nights.run()
    assert (found, len(nights.calls())) == (code, steps)
    assert f"refresh-{date.today()}.log" in errors
    for told in ("Error: no data", "damaged  x", "Error: no cache", "Error: no option"):
        assert (told in errors) == (told in fake)


def test_a_second_start_while_one_runs_ends_with_75_and_does_nothing(nights: Nights) -> None:
    nights.fake("trap 'kill $!; exit 75' TERM; sleep 30 & echo yes >ready; wait")
    first = nights.start(*OPTIONS)
    nights.wait_for("ready")
    code, errors = nights.run()
    assert code == 75
    assert "another refresh still runs" in errors
    assert len(nights.calls()) == 1
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=30)
    nights.fake("true")
    assert nights.run() == (0, "")


def test_sigterm_reaches_the_step_and_ends_with_75(nights: Nights) -> None:
    nights.fake("trap 'kill $!; echo stopping; exit 75' TERM; sleep 30 & echo yes >ready; wait")
    night = nights.start(*OPTIONS)
    nights.wait_for("ready")
    night.send_signal(signal.SIGTERM)
    _, errors = night.communicate(timeout=30)
    assert night.returncode == 75
    assert "the same command goes on" in errors
    assert "stopping" in nights.log()
    assert len(nights.calls()) == 1


def test_a_refresh_that_outlives_a_killed_night_keeps_the_next_one_out(nights: Nights) -> None:
    nights.fake("echo $$ >pid; exec sleep 30")
    night = nights.start(*OPTIONS)
    pid = int(nights.wait_for("pid"))
    night.kill()
    night.communicate()
    assert nights.run()[0] == 75
    os.kill(pid, signal.SIGKILL)
    nights.fake("true")
    assert nights.run()[0] == 0


def test_logs_are_kept_for_a_while(nights: Nights) -> None:
    nights.logs.mkdir()
    for name, days in (("refresh-old.log", 40), ("refresh-new.log", 20), ("notes.txt", 40)):
        path = nights.logs / name
        path.touch()
        os.utime(path, (time.time() - days * 86400,) * 2)
    assert nights.run()[0] == 0
    assert not (nights.logs / "refresh-old.log").exists()
    assert (nights.logs / "refresh-new.log").exists()
    assert (nights.logs / "notes.txt").exists()


@pytest.mark.parametrize(
    ("change", "words", "code", "message"),
    [
        ({"LOGS": ""}, OPTIONS, 2, "LOGS must name a folder"),
        ({}, ("--data", "x"), 2, "no --cache among the options"),
        ({"SCAE": "/nowhere/scae"}, OPTIONS, 2, "there is no command /nowhere/scae"),
        ({"CHECKPOINTS": "/nowhere"}, OPTIONS, 1, "holds no *.pt or *.pth"),
        ({"CHECKPOINTS": "."}, (*OPTIONS, "--weights", "w"), 2, "leave one out"),
        ({"CHECKPOINTS": "."}, (*OPTIONS, "--weights=w"), 2, "leave one out"),
        ({"LOGS": "/proc/nowhere"}, OPTIONS, 1, "folder /proc/nowhere can't be made"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_run(
    change: dict[str, str], words: tuple[str, ...], code: int, message: str, nights: Nights
) -> None:
    nights.environment |= change
    found, errors = nights.run(*words)
    assert found == code
    assert message in errors
    assert nights.calls() == []


def test_a_real_night_publishes_maps_of_the_newest_checkpoint(
    nights: Nights, jpeg_folder: Callable[..., Path]
) -> None:
    checkpoints = nights.folder / "my checkpoints"
    checkpoints.mkdir()
    networks = [NetworkSource(name="resnet8", num_classes=3, seed=seed).build() for seed in (1, 2)]
    for age, (name, built) in enumerate(zip(("b.pt", "a.pt"), networks, strict=True)):
        torch.save(built.module.state_dict(), checkpoints / name)
        os.utime(checkpoints / name, (1000 + age, 1000 + age))
    programs = Path(sys.executable).parent
    nights.environment |= {
        "CHECKPOINTS": str(checkpoints), "SCAE": str(programs / "scae"), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    words = ["--data", str(jpeg_folder()), "--cache=maps.zarr", "--network", "resnet8"]
    assert nights.run(*words, "--size", "16") == (0, "")
    latest = SaliencyStore.open(nights.folder / "maps.zarr").latest()
    assert latest.provenance.weights_digest == state_digest(networks[1].module.state_dict())
    assert "all are as they were written" in nights.log()
    assert "removed 0 objects" in nights.log()
