from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from click.testing import CliRunner

from cache_store.store import SaliencyStore
from cli.main import main
from pipeline.refresh.job import execute
from pipeline.refresh.plan import plan_refresh
from pipeline.refresh.whole_file import write_whole
from pipeline.saliency.networks import build_network
from pipeline.training.followed_run import followed_run
from pipeline.training.recipe_file import load_recipe
from pipeline.training.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

NUM_CLASSES = 10
NUM_IMAGES = 1609
OVERRIDES = [
    "data.name=shapes",
    f"data.classes={NUM_CLASSES}",
    "train.epochs=12",
    "augment.lambda_max=4.0",
    "refresh.batch_size=32",
]
"""Refreshes after epochs 3 and 7, of two blocks each."""


def _begin(path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.make()
    folder.write_recipe(load_recipe(None, OVERRIDES))
    return folder


def _save(folder: RunFolder, *epochs: int) -> None:
    """Write checkpoints as the trainer does, whole and the newest two alone."""
    for epoch in epochs:
        state = build_network("resnet8", num_classes=NUM_CLASSES, seed=epoch).module.state_dict()
        buffer = io.BytesIO()
        torch.save({"model": state, "epoch": epoch}, buffer)
        write_whole(folder.checkpoint_path(epoch), buffer.getvalue())
    for old in folder.checkpoint_paths()[:-2]:
        old.unlink()


def _start(run: Path, *words: str) -> subprocess.Popen[str]:
    code = "import sys; from cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-P", "-c", code, "watch", str(run), "--poll-seconds", "0.2"]
    return subprocess.Popen(
        [*command, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _wait(ready: Callable[[], object], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not ready():
        if process.poll() is not None:
            pytest.fail(f"ended with {process.returncode}: {process.communicate()[0]}")
        assert time.monotonic() < until, "nothing happened for two minutes"
        time.sleep(0.01)


def test_killed_in_a_refresh_stopped_in_a_wait_and_finished_equals_undisturbed(
    tmp_path: Path,
) -> None:
    folder = _begin(tmp_path / "run")
    _save(folder, 2, 3)
    receipts = folder.cache / "_scae" / "receipts" / "000001"
    # Killed when the first of two blocks is done; the trainer removes the checkpoint meanwhile.
    killed = _start(folder.path)
    _wait(lambda: receipts.is_dir() and any(receipts.glob("*.json")), killed)
    killed.kill()
    killed.communicate()
    assert SaliencyStore.open(folder.cache).generations() == ()
    _save(folder, 4, 5)
    assert not folder.checkpoint_path(3).exists()

    stopped = _start(folder.path, "--metrics-port", "0", "--log-json", str(tmp_path / "log"))
    _wait(lambda: SaliencyStore.open(folder.cache).generations() == (1,), stopped)
    heartbeat = folder.path / "watch" / "heartbeat.json"
    _wait(lambda: json.loads(heartbeat.read_text())["state"] == "waiting", stopped)
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    (port,) = [event["port"] for event in events if event["event"] == "metrics"]
    page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    assert "scae_watch_generation 1.0" in page
    (published,) = [event for event in events if event["event"] == "published"]
    assert published["rows_found"] == 1024
    begun = time.monotonic()
    stopped.send_signal(signal.SIGTERM)
    output = stopped.communicate(timeout=60)[0]
    assert time.monotonic() - begun < 10
    assert stopped.returncode == 75, output
    assert "Error: stopped" in output
    assert "Traceback" not in output
    assert json.loads(heartbeat.read_text())["state"] == "stopped"

    _save(folder, 7, 8)
    finished = _start(folder.path, "--until-done")
    output = finished.communicate(timeout=120)[0]
    assert finished.returncode == 0, output
    assert f"epoch 7: generation 2 of {NUM_IMAGES:,} maps" in output

    store = SaliencyStore.open(folder.cache)
    assert store.generations() == (1, 2)
    assert [store.generation(number).digest for number in (1, 2)] == _undisturbed(tmp_path, 3, 7)


def _undisturbed(place: Path, *epochs: int) -> list[str]:
    """Return the digests of epochs' maps, made in one go without a watcher."""
    folder = _begin(place / "undisturbed")
    followed = followed_run(folder.path)
    assert followed is not None
    digests = []
    for epoch in epochs:
        _save(folder, epoch)
        network = replace(followed.network, weights=str(folder.checkpoint_path(epoch)))
        options = replace(followed.options, epoch=epoch)
        plan = plan_refresh(followed.data, network, folder.cache, options, opened=followed.opened)
        digests.append(execute(plan, opened=followed.opened).generation.digest)
    return digests


def _watch(*words: object) -> Result:
    return CliRunner().invoke(main, ["watch", *map(str, words)])


def test_own_loop_is_followed_by_options(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    state = build_network("resnet8", num_classes=4).module.state_dict()
    torch.save(state, folder / "model_1.pth")
    result = _watch(
        folder, "--network", "resnet8", "--data", "shapes", "--classes", 4, "--imbalance", 20,
        "--cache", tmp_path / "c", "--epochs", 4, "--interval", 2, "--pattern", "model_{epoch}.pth",
        "--until-done",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    made_from = SaliencyStore.open(tmp_path / "c").latest().provenance
    assert (made_from.epoch, made_from.network, made_from.weights) == (1, "resnet8", "file")
    assert re.search(r"epoch 1: generation 1 of [\d,]+ maps", result.stdout)


def test_json_log_on_standard_output_is_json_alone(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    torch.save(
        build_network("resnet8", num_classes=4).module.state_dict(), tmp_path / "c" / "epoch-1.pt"
    )
    result = _watch(
        tmp_path / "c", "--network", "resnet8", "--data", "shapes", "--classes", 4, "--imbalance",
        20, "--cache", tmp_path / "m", "--epochs", 4, "--interval", 2, "--until-done",
        "--log-json", "-",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    events = [json.loads(line)["event"] for line in result.stdout.splitlines()]
    assert events == ["following", "checkpoint", "refreshing", "published", "done"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--network", "resnet8"], "--network also needs --data, --cache, --epochs"),
        (["--size", "8", "--interval", "3"], "--size, --interval: a run's recipe says that"),
        (["--workers", "2", "--scheduler", "tcp://x:1"], "--workers and --scheduler"),
        (["--poll-seconds", "0"], "poll-seconds"),
    ],
    ids=["loop-without-data", "run-with-loop-options", "two-places", "poll"],
)
def test_options_that_do_not_fit_are_usage_errors(
    tmp_path: Path, words: list[str], part: str
) -> None:
    result = _watch(tmp_path / "run", *words)
    assert result.exit_code == 2
    assert part in result.output
    assert not (tmp_path / "run").exists()


def test_cache_of_other_data_ends_with_exit_code_1(tmp_path: Path) -> None:
    folder = _begin(tmp_path / "run")
    refreshed = CliRunner().invoke(
        main,
        ["refresh", "--data", "shapes", "--classes", "4", "--imbalance", "20", "--cache",
         str(folder.cache), "--network", "resnet8", "--weights", "random"],
    )  # fmt: skip
    assert refreshed.exit_code == 0, refreshed.output
    result = _watch(folder.path)
    assert result.exit_code == 1
    assert str(NUM_IMAGES) in result.stderr
    assert "Traceback" not in result.output


def test_run_is_followed_by_the_trainers_own_plan(tmp_path: Path) -> None:
    folder = _begin(tmp_path / "run")
    followed = followed_run(folder.path)
    assert followed is not None
    assert followed.policy.epochs() == (3, 7)
    assert (followed.options.batch_size, followed.options.device) == (32, "auto")
    other = followed_run(folder.path, "cpu")
    assert other is not None
    assert other.options.device == "cpu"
    assert followed_run(tmp_path / "nowhere") is None
