"""The command around the trainer: repeating a run, going on with one, wrong usage."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from cli.main import main
from pipeline.training.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECIPE = """
name = "a tiny run"
seed = 3
[data]
size = 16
evaluate = false
[train]
epochs = 2
batch_size = 8
precision = "fp32"
device = "cpu"
[augment]
lambda_max = 8.0
[refresh]
interval = 1
"""


def _train(*words: object) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, words)])


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A finished run; nobody changes it."""
    root = tmp_path_factory.mktemp("run")
    pixels = np.random.default_rng(1).integers(0, 256, (18, 16, 16, 3), np.uint8)
    for index, image in enumerate(pixels):
        folder = root / "data" / f"class{index % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{index}.png")
    recipe = root / "tiny.toml"
    recipe.write_text(RECIPE)
    done = _train("--recipe", recipe, "--data", root / "data", "--run", root / "run")
    assert done.exit_code == 0, done.output
    return root / "run"


def _weights(run: Path) -> dict[str, torch.Tensor]:
    state = torch.load(RunFolder(run).checkpoint_paths()[-1], weights_only=True)
    weights: dict[str, torch.Tensor] = state["model"]
    return weights


def _same(first: Path, second: Path) -> bool:
    ours, theirs = _weights(first), _weights(second)
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_run_is_repeated_from_its_folder_to_the_bit(run: Path, tmp_path: Path) -> None:
    result = _train("--from-run", run, "--run", tmp_path / "again")
    assert result.exit_code == 0, result.output
    assert f"repeats {run}: the same recipe, data, versions and device" in result.stdout
    assert (tmp_path / "again" / "recipe.toml").read_text() == (run / "recipe.toml").read_text()
    assert _same(run, tmp_path / "again")
    logs = [(path / "log.jsonl").read_text().splitlines()[0] for path in (run, tmp_path / "again")]
    assert len({json.loads(line)["recipe_digest"] for line in logs}) == 1


def test_keys_of_a_repeated_run_can_be_changed_and_the_change_is_told(
    run: Path, tmp_path: Path
) -> None:
    words = ("--from-run", run, "--run", tmp_path / "other", "--seed", 4)
    result = _train(*words, "--set", "train.lr=0.05")
    assert result.exit_code == 0, result.output
    assert f"the result may differ from that of {run}: recipe_digest" in result.stdout
    recipe = (tmp_path / "other" / "recipe.toml").read_text()
    assert "seed = 4" in recipe
    assert "lr = 0.05" in recipe
    assert not _same(run, tmp_path / "other")


def test_a_run_without_a_log_is_repeated_with_a_warning(run: Path, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    shutil.copy(run / "recipe.toml", tmp_path / "old")
    (tmp_path / "old" / "log.jsonl").write_text("no JSON\n")
    result = _train("--from-run", tmp_path / "old", "--run", tmp_path / "again")
    assert result.exit_code == 0, result.output
    assert "log.jsonl tells no start: what differs can't be told" in result.stdout
    assert _same(run, tmp_path / "again")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(("--recipe", "x.toml"), "leave out --recipe", id="with-a-recipe"),
        pytest.param(("--resume", "perhaps"), "is not one of 'auto', 'must'", id="resume-perhaps"),
    ],
)
def test_wrong_usage_exits_with_2(
    run: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    result = _train("--from-run", run, "--run", tmp_path / "new", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_no_run_exits_with_2(folder: Path, tmp_path: Path) -> None:
    for place, message in ((folder, "has no recipe.toml"), (tmp_path / "no", "does not exist")):
        result = _train("--from-run", place, "--run", tmp_path / "new")
        assert result.exit_code == 2
        assert message in result.stderr


@pytest.mark.parametrize("words", [["--resume"], ["--resume", "auto"], ["--resume=auto"]])
def test_resume_begins_where_there_is_nothing_yet(
    run: Path, tmp_path: Path, words: list[str]
) -> None:
    result = _train("--from-run", run, "--run", tmp_path / "new", *words)
    assert result.exit_code == 0, result.output
    again = _train("--from-run", run, *words, "--run", tmp_path / "new")
    assert again.exit_code == 0, again.output
    assert "going on after epoch 1" in again.stdout


def test_resume_must_fails_where_there_is_nothing_to_go_on_from(run: Path, tmp_path: Path) -> None:
    result = _train("--from-run", run, "--run", tmp_path / "new", "--resume", "must")
    assert result.exit_code == 1
    assert "has no checkpoint to go on from" in result.stderr
    again = _train("--from-run", run, "--run", run, "--resume", "must")
    assert again.exit_code == 0, again.output


def test_quiet_tells_the_final_figures_and_the_log_all(run: Path, tmp_path: Path) -> None:
    result = _train("--from-run", run, "--run", tmp_path / "new", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    first, *_, last = result.stdout.splitlines()
    assert first.startswith("time       ")  # no test images, hence no accuracy
    assert last == f"report: {tmp_path / 'new' / 'report.html'}"
    log = (tmp_path / "new" / "log.jsonl").read_text().splitlines()
    assert {"start", "epoch", "result", "end"} <= {json.loads(line)["event"] for line in log}


def test_tensorboard_gets_its_files(run: Path, tmp_path: Path) -> None:
    result = _train("--from-run", run, "--run", tmp_path / "new", "--tensorboard")
    assert result.exit_code == 0, result.output
    assert list((tmp_path / "new" / "tensorboard").glob("events.out.tfevents.*"))
    assert not (run / "tensorboard").exists()
