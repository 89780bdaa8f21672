from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.main import main
from pipeline.errors import SweepError
from pipeline.training.comparison.cells import DASH
from pipeline.training.folder_lock import folder_lock
from pipeline.training.recipe_file import load_recipe
from pipeline.training.run_record import read_record, record_of
from pipeline.training.sweep import plan_sweep, run_sweep
from pipeline.training.trainer import TrainOptions, train

RECIPES = Path(__file__).parent.parent.parent / "recipes"
RECIPE = """
[data]
name = "{folder}"
size = 16
[train]
epochs = 2
batch_size = 16
precision = "fp32"
workers = 0
[refresh]
interval = 1
"""


@pytest.fixture
def recipes(tmp_path: Path, image_folder: Path) -> list[Path]:
    """Two recipes that train in a second."""
    (tmp_path / "base.toml").write_text(RECIPE.format(folder=image_folder))
    for name, method in (("plain", "none"), ("erased", "scae")):
        text = f"extends = 'base.toml'\nname = '{name}'\n[augment]\nmethod = '{method}'\n"
        (tmp_path / f"{name}.toml").write_text(text)
    return [tmp_path / "plain.toml", tmp_path / "erased.toml"]


def _quiet(_line: str) -> None:
    return None


def _scae(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def _figures(runs: Path) -> dict[str, dict[str, Any]]:
    """Return all records without their times."""
    records = {path.name: json.loads(path.read_text()) for path in sorted(runs.glob("*.json"))}
    for record in records.values():
        record.pop("seconds")
    return records


def test_a_sweep_runs_seed_by_seed_and_skips_what_is_done(
    tmp_path: Path, recipes: list[Path]
) -> None:
    runs = tmp_path / "runs"
    words = ("sweep", *recipes, "--seeds", 0, 1, "--runs", runs)
    listed = _scae(*words, "--dry-run")
    names = ["plain-seed0", "erased-seed0", "plain-seed1", "erased-seed1"]
    assert [line.split("/")[-1] for line in listed.output.splitlines()] == names
    assert not runs.exists()
    result = _scae(*words)
    assert result.exit_code == 0, result.output
    assert "4 done, 0 done before, 0 failed" in result.output
    alone = train(load_recipe(recipes[1], ["seed=1"]), TrainOptions(run=tmp_path / "r", log=_quiet))
    record, expected = read_record(runs / "erased-seed1.json"), record_of(alone)
    assert (record.recipe, record.seed, record.name) == ("erased", 1, "erased")
    assert (record.final, record.best, record.digest) == (
        expected.final, expected.best, expected.digest,
    )  # fmt: skip
    assert record.versions["torch"]
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    again = _scae(*words)
    assert "0 done, 4 done before, 0 failed" in again.output
    after = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    before.pop(runs / "sweep.lock"), after.pop(runs / "sweep.lock")
    assert after == before


def test_records_alone_are_enough_for_a_report(tmp_path: Path, recipes: list[Path]) -> None:
    runs = tmp_path / "runs"
    assert _scae("sweep", *recipes, "--seeds", 0, 1, "--runs", runs).exit_code == 0
    out = [tmp_path / "whole", tmp_path / "gone"]
    shipped = ("--recipes", RECIPES)
    assert _scae("report", runs, "--out", out[0], *shipped).exit_code == 0
    for name in ("plain", "erased"):
        for seed in (0, 1):
            shutil.rmtree(runs / f"{name}-seed{seed}")
    result = _scae("report", runs, "--out", out[1], *shipped)
    assert result.exit_code == 0, result.output
    texts = [(folder / "report.md").read_text() for folder in out]
    assert texts[0] == texts[1]
    assert f"| erased | {DASH} | {DASH} | {DASH} |" in texts[0]


KILLED_SWEEP = """
import os, signal, sys
from pathlib import Path
import torch
from pipeline.training import run_loop
from pipeline.training.sweep import plan_sweep, run_sweep
torch.set_num_threads(1)
runs, *recipes = map(Path, sys.argv[1:])
calls, real = 0, run_loop.save_checkpoint
def dying(*args, **options):
    global calls
    real(*args, **options)
    calls += 1
    if calls == 3:
        os.kill(os.getpid(), signal.SIGKILL)
run_loop.save_checkpoint = dying
run_sweep(plan_sweep(recipes, [0], runs), runs)
"""


def test_killed_and_resumed_sweeps_equal_undisturbed_ones(
    tmp_path: Path, recipes: list[Path]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run_sweep(plan_sweep(recipes, [0], whole), whole, log=_quiet)
    command = [sys.executable, "-P", "-c", KILLED_SWEEP, str(parts), *map(str, recipes)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    planned = plan_sweep(recipes, [0], parts)
    assert [run.state() for run in planned] == ["done", "begun"]
    outcome = run_sweep(planned, parts, log=_quiet)
    assert [run.file for run in outcome.skipped] == ["plain"]
    assert [run.file for run in outcome.done] == ["erased"]
    assert _figures(parts) == _figures(whole)
    assert not list(parts.rglob("*.partial"))


def test_stopped_sweeps_end_with_75_and_go_on(
    tmp_path: Path, recipes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    real = train

    def stopping(recipe: Any, options: TrainOptions) -> Any:  # noqa: ANN401
        if recipe.name == "erased":
            signal.raise_signal(signal.SIGTERM)
        return real(recipe, options)

    monkeypatch.setattr("pipeline.training.sweep.train", stopping)
    result = _scae("sweep", *recipes, "--runs", runs)
    assert result.exit_code == 75, result.output
    assert "stopped with 1 of 2 runs done: the same command goes on" in result.stderr
    monkeypatch.setattr("pipeline.training.sweep.train", real)
    assert "1 done, 1 done before" in _scae("sweep", *recipes, "--runs", runs).output


def test_failed_runs_are_named_and_the_others_go_on(
    tmp_path: Path, recipes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong, runs = tmp_path / "wrong.toml", tmp_path / "runs"
    wrong.write_text("extends = 'base.toml'\n[augment]\nmethod = 'grid_mask'\n")
    real = train

    def breaking(recipe: Any, options: TrainOptions) -> Any:  # noqa: ANN401
        if recipe.name == "plain":
            raise MemoryError("no room")
        return real(recipe, options)

    monkeypatch.setattr("pipeline.training.sweep.train", breaking)
    result = _scae("sweep", wrong, *recipes, "--runs", runs)
    assert result.exit_code == 1, result.output
    assert "1 done, 0 done before, 2 failed" in result.output
    assert "Error: wrong, seed 0: period of grid_mask" in result.stderr
    assert "Error: plain, seed 0: MemoryError: no room (see " in result.stderr
    assert "MemoryError: no room" in (runs / "plain-seed0.error.txt").read_text()
    assert [path.name for path in runs.glob("*.json")] == ["erased-seed0.json"]
    monkeypatch.setattr("pipeline.training.sweep.train", real)
    assert _scae("sweep", *recipes, "--runs", runs).exit_code == 0
    assert not (runs / "plain-seed0.error.txt").exists()


HOLDER = """
import sys, time
from pathlib import Path
from pipeline.training.comparison.cells import DASH
from pipeline.training.folder_lock import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_two_sweeps_in_one_folder_are_refused_until_the_first_dies(
    tmp_path: Path, recipes: list[Path]
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    command = [sys.executable, "-P", "-c", HOLDER, str(runs / "sweep.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        result = _scae("sweep", *recipes, "--runs", runs)
        assert result.exit_code == 1
        assert f"Error: process {holder.pid} on " in result.stderr
        assert "works in" in result.stderr
        holder.kill()
    with folder_lock(runs / "sweep.lock"):
        pass
    assert not list(runs.glob("*seed*"))


def test_records_of_other_settings_and_doubles_are_refused(
    tmp_path: Path, recipes: list[Path]
) -> None:
    runs = tmp_path / "runs"
    run_sweep(plan_sweep(recipes[:1], [0], runs), runs, log=_quiet)
    with pytest.raises(SweepError, match=r"plain-seed0\.json is of other settings .* another --r"):
        plan_sweep(recipes, [0], runs, overrides=["train.epochs=3"])
    with pytest.raises(SweepError, match=r"recipe names must be there once each, got \['plain', "):
        plan_sweep([recipes[0], recipes[0]], [0], runs)
    with pytest.raises(SweepError, match=r"seeds must be there once each, got \[1, 1\]"):
        plan_sweep(recipes, [1, 1], runs)
    with pytest.raises(SweepError, match="--set seed would do nothing"):
        plan_sweep(recipes, [0], runs, overrides=["seed=1"])


def test_folders_that_can_not_be_used_end_in_one_line(tmp_path: Path, recipes: list[Path]) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "locked" / "sweep.lock").mkdir(parents=True)
    for runs, message in (("file", "can't make folder"), ("locked", "can't open")):
        result = _scae("sweep", *recipes, "--runs", tmp_path / runs)
        assert result.exit_code == 1, result.output
        assert result.stderr.startswith(f"Error: {message} ")
        assert len(result.stderr.splitlines()) == 1


def test_a_full_disk_leaves_the_traceback_in_the_log(
    tmp_path: Path, recipes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, lines = tmp_path / "runs", list[str]()
    real = Path.write_text

    def full(path: Path, *args: Any, **options: Any) -> int:  # noqa: ANN401
        if path.name.endswith("error.txt"):
            raise OSError(28, "No space left on device")
        return real(path, *args, **options)

    def failing(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr("pipeline.training.sweep.train", failing)
    outcome = run_sweep(plan_sweep(recipes, [0], runs), runs, log=lines.append)
    assert len(outcome.failed) == 2
    assert any("its traceback can't be written" in line for line in lines)
    assert any(line.startswith("Traceback") for line in lines)


def test_a_folder_of_another_run_is_not_taken_over(tmp_path: Path, recipes: list[Path]) -> None:
    runs = tmp_path / "runs"
    other = load_recipe(recipes[1], ["seed=5"])
    train(other, TrainOptions(run=runs / "plain-seed0", log=_quiet))
    outcome = run_sweep(plan_sweep(recipes[:1], [0], runs), runs, log=_quiet)
    ((_, why),) = outcome.failed
    assert "recipe" in why
    assert not (runs / "plain-seed0.json").exists()


def test_seeds_may_follow_one_option_or_have_one_each(tmp_path: Path, recipes: list[Path]) -> None:
    words = ("sweep", "--runs", tmp_path / "runs", "--dry-run")
    together = _scae(*words, "--seeds", 3, 1, *recipes)
    single = _scae(*words, *recipes, "--seeds", 3, "--seeds=1")
    assert together.exit_code == 0, together.output
    assert together.output == single.output
    assert len(together.output.splitlines()) == 4
    assert _scae(*words, *recipes, "--seeds", "x").exit_code == 2
