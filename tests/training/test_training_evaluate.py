"""`scae evaluate`: the very figures of the run, on other data, and for networks of no run."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torchvision import transforms

from cli.main import main
from loaders.cropped_data import CentreCropped
from loaders.errors import OptionError
from loaders.folder_data import FolderData
from pipeline.saliency.networks import build_network
from pipeline.training.trainer import TrainOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.training.recipe import Recipe
    from pipeline.training.run_folder import RunFolder

    MakeRecipe = Callable[..., Recipe]

COLUMNS = ("loss", "top1", "balanced", "ece", "many", "medium", "few")


def _scae(*words: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, words)])


def _measured(*words: object) -> dict[str, Any]:
    result = _scae(*words, "--json")
    assert result.exit_code == 0, result.output
    fields: dict[str, Any] = json.loads(result.stdout)
    return fields


def _assert_refused(result: Result, *parts: str, code: int = 1) -> None:
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.stderr


def _trained(recipe: Recipe, run: Path) -> RunFolder:
    return train(recipe, TrainOptions(run=run, log=lambda _line: None))


def _rows(folder: RunFolder) -> list[dict[str, str]]:
    return list(csv.DictReader(folder.metrics_path.read_text().splitlines()))


def _assert_is_row(measured: dict[str, Any], row: dict[str, str]) -> None:
    for name in COLUMNS:
        assert measured[name] == (float(row[f"test_{name}"]) if row[f"test_{name}"] else None), name


@pytest.mark.parametrize(
    "overrides",
    [
        ["refresh.interval=0", "augment.lambda_max=0.0"],
        ["second_stage.name=lws", "second_stage.epochs=2"],
        ["loss.name=ldam", "network.options.normed_head=true", "train.precision=bf16"],
        ["second_stage.name=tau-norm", "second_stage.holdout=0.2"],
        ["train.ema=0.9"],
        ["train.ema=0.9", "second_stage.name=lws", "second_stage.epochs=1"],
    ],
    ids=["plain", "lws", "ldam-bf16", "tau-norm", "average", "average-lws"],
)
def test_a_run_is_measured_to_the_very_figures_of_its_last_epoch(
    tmp_path: Path, tiny_recipe: MakeRecipe, overrides: list[str]
) -> None:
    folder = _trained(tiny_recipe("train.epochs=2", *overrides), tmp_path / "run")
    last = folder.checkpoint_paths()[-1]
    rows = _rows(folder)
    _assert_is_row(_measured("--checkpoint", last), rows[-1])
    _assert_is_row(_measured("--checkpoint", folder.checkpoint_paths()[-2]), rows[-2])
    final, summary = _measured(folder.path), json.loads(folder.summary_path.read_text())
    for name in (*COLUMNS[1:], "top5"):
        assert final[name] == summary[name], name
    assert [one["top1"] for one in final["per_class"]] == summary["per_class"]
    assert [one["images"] for one in final["per_class"]] == [8, 8, 8]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, image_folder: Path) -> RunFolder:
    """One epoch without maps."""
    from pipeline.training.recipe_file import load_recipe

    words = [f"data.name={image_folder}", "data.size=16", "train.epochs=1", "refresh.interval=0",
             "train.precision=fp32", "augment.lambda_max=0.0"]  # fmt: skip
    return _trained(load_recipe(None, words), tmp_path_factory.mktemp("evaluated") / "run")


def test_other_data_and_every_class_are_told(run: RunFolder, image_folder: Path) -> None:
    result = _scae(run.path, "--data", image_folder / "test", "--per-class", "--occlusion")
    assert result.exit_code == 0, result.output
    assert "24 images of 3 classes, squashed whole to 16x16" in result.output
    assert result.output.count("\nclass ") == 3
    assert "occlusion  erased" in result.output
    both = _measured(run.path, "--data", image_folder / "test"), _measured(run.path)
    assert both[0]["split"] == "all"
    assert both[1]["split"] == "test"
    assert both[0]["per_class"] == both[1]["per_class"]
    assert _measured(run.path, "--split", "train")["images"] == 40


def test_without_the_training_data_other_images_still_can_be_measured(
    tmp_path: Path, run: RunFolder, image_folder: Path
) -> None:
    moved = tmp_path / "moved"
    (moved / "checkpoints").mkdir(parents=True)
    recipe = run.recipe_path.read_text().replace(str(image_folder), str(tmp_path / "gone"))
    (moved / "recipe.toml").write_text(recipe)
    last = run.checkpoint_paths()[-1]
    (moved / "checkpoints" / last.name).write_bytes(last.read_bytes())
    _assert_refused(_scae(moved), "gone")
    result = _scae(moved, "--data", image_folder, "--json")
    assert "warning: no many, medium and few" in result.stderr
    fields = json.loads(result.stdout)
    assert fields["many"] is None
    assert fields["top1"] == _measured(run.path)["top1"]


def test_classes_of_other_names_are_warned_of_and_of_another_number_refused(
    tmp_path: Path, run: RunFolder, image_folder: Path
) -> None:
    for count in (2, 3):
        other = tmp_path / f"other{count}"
        for label in range(count):
            (other / f"kind{label}").mkdir(parents=True)
            Image.new("RGB", (9, 9)).save(other / f"kind{label}" / "a.png")
    assert "class 0 is 'kind0', in the run 'class0'" in _scae(run.path, "--data", other).stderr
    _assert_refused(_scae(run.path, "--data", tmp_path / "other2"), "2", "3")


def test_what_is_no_run_is_refused_with_the_cure(tmp_path: Path, run: RunFolder) -> None:
    _assert_refused(_scae(tmp_path), "no run in", "recipe.toml", "--network")
    empty = tmp_path / "begun"
    empty.mkdir()
    (empty / "recipe.toml").write_text(run.recipe_path.read_text())
    _assert_refused(_scae(empty), "has no checkpoint yet")
    missing = run.checkpoints / "epoch-0999.pt"
    _assert_refused(_scae("--checkpoint", missing), f"no checkpoint at {missing}")
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(run.checkpoint_paths()[-1].read_bytes()[:999])
    _assert_refused(_scae(run.path, "--checkpoint", damaged), "damaged.pt", "can't be read")
    _assert_refused(_scae(run.path, "--resize", 8), "at most the resized shorter side")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("", "name either RUN"),
        ("runs/x --network resnet8", "name either RUN"),
        ("--network resnet8", "--network needs --weights and --data"),
        ("runs/x --classes 3", "--classes has no effect without --network"),
        ("runs/x --root x", "--root has no effect without --data"),
        ("runs/x --size 8 --resize 9", "--size squashes"),
    ],
)
def test_words_that_make_no_sense_are_usage_errors(words: str, part: str) -> None:
    _assert_refused(_scae(*words.split()), part, code=2)


def test_a_network_of_no_run_gives_the_figures_of_torchvisions_own_evaluation(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(3)
    for label in range(3):
        (tmp_path / "data" / f"{label}").mkdir(parents=True)
        for index, shape in enumerate([(40, 60, 3), (50, 33, 3), (37, 37, 3)] * 3):
            pixels = rng.integers(0, 256, shape, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / f"{label}" / f"{index}.png")
    built = build_network("resnet8", num_classes=3)
    torch.save(built.module.state_dict(), tmp_path / "w.pt")
    prepare = transforms.Compose(
        [transforms.Resize(36), transforms.CenterCrop(32), transforms.ToTensor(),
         transforms.Normalize(built.mean, built.std)]
    )  # fmt: skip
    paths = sorted((tmp_path / "data").rglob("*.png"))
    batch = torch.stack([prepare(Image.open(path)) for path in paths])
    labels = torch.tensor([int(path.parent.name) for path in paths])
    with torch.inference_mode():
        logits = built.module.eval()(batch)
    fields = _measured(
        "--network", "resnet8", "--weights", tmp_path / "w.pt", "--data", tmp_path / "data",
        "--resize", 36, "--center-crop", 32,
    )  # fmt: skip
    assert fields["top1"] == float((logits.argmax(1) == labels).double().mean())
    # Pillow's and torch's antialiasing round now and then to neighbouring grey values.
    assert fields["loss"] == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, labels)), rel=2e-3
    )
    assert fields["many"] is None


def test_cropped_data_keeps_labels_and_picks_the_right_images(image_folder: Path) -> None:
    data = FolderData(image_folder, split="test")
    cropped = CentreCropped(data, 16, 8)
    picked = cropped.subset([23, 1])
    assert picked.describe(0) == data.describe(23)
    np.testing.assert_array_equal(picked.read(1), data.read(1)[4:12, 4:12])
    assert picked.labels.tolist() == [2, 0]
    with pytest.raises(OptionError, match="crop of 17 from 16"):
        CentreCropped(data, 16, 17)
