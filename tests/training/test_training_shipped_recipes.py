"""Every shipped recipe trains: a step each, and in the long runs to its debug form's end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from loaders import shapes
from loaders.image_data import ImageData
from loaders.named_data import open_data
from pipeline.errors import Stopped
from pipeline.refresh import sources
from pipeline.training.recipe_file import load_recipe
from pipeline.training.trainer import TrainOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tests.conftest import TortureLog

RECIPES = sorted((Path(__file__).parent.parent.parent / "recipes").glob("*.toml"))


def _quiet(_line: str) -> None:
    return None


@pytest.fixture(scope="module")
def opened_once() -> dict[str, ImageData]:
    """Data sets that tests here have opened: rendering them anew would take most of the time."""
    return {}


@pytest.fixture
def shared_data(opened_once: dict[str, ImageData], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shapes.IMAGES_PER_CLASS, "train", 120)
    monkeypatch.setitem(shapes.IMAGES_PER_CLASS, "test", 5)

    def open_once(*args: Any, **options: Any) -> ImageData:  # noqa: ANN401
        key = repr((args, sorted(options.items())))
        if key not in opened_once:
            opened_once[key] = open_data(*args, **options)
        return opened_once[key]

    monkeypatch.setattr(sources, "open_data", open_once)


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_takes_a_step(tmp_path: Path, path: Path) -> None:
    recipe = load_recipe(path, ["train.batch_size=16", "train.precision=fp32"], debug=True)
    steps = []

    def progress(_label: str) -> Callable[[int, int], None]:
        return lambda done, _total: steps.append(done)

    options = TrainOptions(
        run=tmp_path / "run", log=_quiet, progress=progress, stop=lambda: len(steps) >= 1
    )
    with pytest.raises(Stopped):
        train(recipe, options)
    assert steps == [1]


@pytest.mark.usefixtures("shared_data")
def test_rows_that_differ_in_class_awareness_alone_are_equal_on_balanced_data(
    tmp_path: Path,
) -> None:
    weights = []
    for name in ("table1_scae", "table4_semantic_curriculum"):
        path = RECIPES[0].with_name(f"{name}.toml")
        recipe = load_recipe(path, ["train.precision=fp32"], debug=True)
        folder = train(recipe, TrainOptions(run=tmp_path / name, log=_quiet))
        weights.append(torch.load(folder.checkpoint_paths()[-1], weights_only=True)["model"])
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.torture
def test_every_debug_form_runs_to_its_end(
    tmp_path: Path, open_torture_log: Callable[..., TortureLog]
) -> None:
    log = open_torture_log("recipes", "pipeline/training")
    for case in log.todo([path.stem for path in RECIPES]):
        recipe = load_recipe(RECIPES[0].with_name(f"{case}.toml"), debug=True)
        folder = train(recipe, TrainOptions(run=tmp_path / case, log=_quiet))
        summary = json.loads(folder.summary_path.read_text())
        assert summary["epochs"] == recipe.num_epochs
        assert 0 <= summary["top1"] <= 1
        assert folder.report_path.is_file()
