"""What docs/watch.md says must be so."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import click
import pytest

from cli.main import main
from cli.watch import watch_command
from pipeline.refresh.watch_heartbeat import Heartbeat
from pipeline.refresh.watch_metrics import StatusCollector
from pipeline.refresh.watch_status import SKIPS, WatchStatus

TEXT = (Path(__file__).parents[2] / "docs" / "watch.md").read_text()
BLOCKS = dict(re.findall(r"```(bash|ini)\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = [
    *re.findall(r"^(scae watch [^&\n]*)", TEXT, re.MULTILINE),
    *re.findall(r"^ExecStart=\S+/(scae watch .*)$", TEXT, re.MULTILINE),
]


def test_every_metric_is_listed_and_every_listed_one_is_served() -> None:
    status = WatchStatus(run="r", cache="c", epoch_seen=1, epoch_published=1, generation=1)
    status.images_per_second = 1.0
    moved = {"rank_correlation": 1.0, "peaks_moved": 1.0, "tv_distance": 1.0}
    status.report = {
        "seconds": 1.0, "flat_share": 0.0, "mean_entropy": 1.0, "skipped": [], "shares": {},
        "moved": moved, "pointing_game": {"share": 1.0},
    }  # fmt: skip
    names = {
        family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        for family in StatusCollector(status).collect()
    }
    rows = [line for line in TEXT.splitlines() if line.startswith("| `scae_watch_")]
    listed = {name for row in rows for name in re.findall(r"`(scae_watch_\w+)", row)}
    assert listed == names


def test_every_field_of_the_heartbeat_is_listed(tmp_path: Path) -> None:
    Heartbeat(tmp_path / "h", WatchStatus(run="r", cache="c"), pytest.fail).write()
    section = TEXT.split("## Heartbeat")[1].split("## Metrics")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(listed) == sorted(json.loads((tmp_path / "h").read_text()))


def test_every_reason_to_skip_is_listed() -> None:
    section = TEXT.split("## What is refreshed")[1].split("## Killed")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted(SKIPS)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_line_is_accepted(line: str) -> None:
    words = shlex.split(line)[2:]
    watch_command.make_context("watch", words, parent=click.Context(main))


@pytest.mark.parametrize("code", [0, 1, 75])
def test_slurm_snippet_requeues_what_was_stopped_and_nothing_else(
    tmp_path: Path, code: int
) -> None:
    (tmp_path / "scae").write_text(
        "#!/bin/bash\ntrap 'sleep 0.2; exit 75' TERM\n"
        f"[ {code} -eq 75 ] || exit {code}\n"
        f"touch {tmp_path}/ready; while true; do sleep 0.05; done\n"
    )
    (tmp_path / "scontrol").write_text(f'#!/bin/bash\necho "$@" >> {tmp_path}/requeued\n')
    for name in ("scae", "scontrol"):
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    job = subprocess.Popen(
        ["bash", "-c", BLOCKS["bash"]],
        env={**os.environ, "PATH": path, "RUN": "runs/lt", "SLURM_JOB_ID": "17"},
    )
    if code == 75:
        until = time.monotonic() + 30
        while not (tmp_path / "ready").exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=30) == code
    requeued = tmp_path / "requeued"
    assert (requeued.read_text() if requeued.exists() else "") == (
        "requeue 17\n" if code == 75 else ""
    )
