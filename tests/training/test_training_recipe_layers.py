"""Recipes that extend others, and debug forms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import torch

from pipeline.errors import RecipeError
from pipeline.training.recipe_file import load_recipe, load_with_places
from pipeline.training.recipe_places import line_of
from pipeline.training.schedule import learning_rate

if TYPE_CHECKING:
    from pathlib import Path


def _write(folder: Path, **files: str) -> Path:
    """Write NAME.toml for each keyword and return the last one."""
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    return folder / f"{next(reversed(files))}.toml"


def test_a_recipe_lays_its_keys_over_those_of_the_one_it_extends(tmp_path: Path) -> None:
    row = _write(
        tmp_path,
        base="name = 'base'\n[train]\nepochs = 7\nlr = 0.3\n"
        "[network.options]\nnormed_head = true\n",
        middle="extends = 'base.toml'\n[train]\nepochs = 8\n",
        row="extends = 'middle.toml'\nname = 'row'\n[data]\nclasses = 4\n",
    )
    recipe = load_recipe(row, ["train.batch_size=9"])
    assert (recipe.name, recipe.train.epochs, recipe.train.lr) == ("row", 8, 0.3)
    assert (recipe.data.classes, recipe.train.batch_size) == (4, 9)
    assert recipe.network.options == {"normed_head": True}
    assert "extends" not in recipe.as_dict()


def test_bases_are_found_from_the_recipes_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bases").mkdir()
    _write(tmp_path / "bases", base="[train]\nepochs = 7\n")
    row = _write(tmp_path, row="extends = 'bases/base.toml'\n")
    monkeypatch.chdir("/")
    assert load_recipe(row).train.epochs == 7


def test_another_method_drops_the_options_of_the_base(tmp_path: Path) -> None:
    row = _write(
        tmp_path,
        base="[augment]\nmethod = 'scae'\nlambda_max = 3.0\n",
        row="extends = 'base.toml'\n[augment]\nmethod = 'cutmix'\n",
    )
    assert load_recipe(row).as_dict()["augment"] == {"method": "cutmix", "prob": 0.5, "alpha": 1.0}
    same = load_recipe(row, ["augment.method=scae"]).as_dict()["augment"]
    assert same["lambda_max"] == 2.0


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("[train]\nepoch = 3", "base", "unknown recipe key train.epoch; did you mean"),
        ("[train]\nepochs = 'ten'", "base", "train.epochs must be a whole number, got 'ten'"),
        ("[train]\nepochs = 0", "base", r"\[train\] epochs must be 1 or more, got 0"),
        ("[augment]\np_max = 2.0", "base", r"\[augment\] p_max must be"),
        ("[augment]\nmethod = 'cutmx'", "base", "augment.method must be one of"),
        ("[second_stage]\nname = 'crt'\nlr = 0.0", "base", r"\[second_stage\] lr must be above 0"),
        ("train = 3", "base", r"train must be a section \[train\], got 3"),
        ("seed = -1", "base", "seed must be 0 or more, got -1"),
        ("seed = = 1", "base", "is not TOML"),
    ],
)
def test_errors_name_the_file_that_set_the_key(
    tmp_path: Path, text: str, place: str, message: str
) -> None:
    row = _write(tmp_path, base=f"{text}\n", row="extends = 'base.toml'\n[data]\nclasses = 4\n")
    with pytest.raises(RecipeError, match=message) as refusal:
        load_recipe(row)
    assert str(refusal.value).startswith(str(tmp_path / f"{place}.toml"))


def test_errors_of_overrides_name_the_command_line(tmp_path: Path) -> None:
    row = _write(tmp_path, row="[train]\nepochs = 3\n")
    for word in ("train.epochs=ten", "train.epochs=0", "train.epoch=3"):
        with pytest.raises(RecipeError, match=r"^the command line: .*epoch"):
            load_recipe(row, [word])


def test_a_line_is_that_of_the_statement_that_sets_the_key() -> None:
    text = (
        "# head\nname = 'x'\n\n[train]  # how\nlr = 0.1\n# why\nmilestones = [\n  3,\n  # two\n"
        "  6,\n]\n[network.options]\nblocks = {a = 1, b = 2}\n[data]\nroot = '''\n[train]\n"
        "epochs = 3\n'''\nclasses.few = 3\n"
    )
    lines = {
        "name": 2, "train": 4, "train.lr": 5, "train.milestones": 7, "network": 12,
        "network.options.blocks.b": 13, "data.root": 15, "data.classes.few": 19,
        "train.epochs": None, "name.x": None,
    }  # fmt: skip
    assert {name: line_of(text, name) for name in lines} == lines


def test_errors_name_the_line_of_the_key_in_the_file_that_set_it(tmp_path: Path) -> None:
    row = _write(
        tmp_path,
        base="# a base\n[train]\nlr = 0.3\nepochs = 0\n[tarin]\nx = 1\n",
        row="extends = 'base.toml'\n[train]\n\nschedule = 'four'\n",
    )
    base = tmp_path / "base.toml"
    for words, place in (
        ([], f"{row}:4: train.schedule must be"),
        (["train.schedule=cosine"], f"{base}:4: [train] epochs must be"),
        (["train.schedule=cosine", "train.epochs=1"], f"{base}:5: unknown recipe key tarin"),
    ):
        with pytest.raises(RecipeError, match=f"^{re.escape(place)}"):
            load_recipe(row, words)


@pytest.mark.parametrize(
    ("text", "words", "places"),
    [
        ("[train]\naccumulate = 2\n[loss]\nname = 'class-balanced'\n", ["loss.average=weights"],
         "the command line and {row}:2: loss.average = "),
        ("[loss]\nname = 'ldam'\n", ["augment.method=cutmix"],
         "{row}:2 and the command line: loss.name = 'ldam' needs integer labels"),
        ("[train]\nepochs = 3\n", ["train.schedule=step"],
         "the command line: [train] milestones must be there with schedule 'step'"),
        ("[augment]\nmethod = 'cutmix'\nprob = 0.1\n",
         ["augment.method=grid_mask", "augment.prob=2"],
         "the command line: [augment] prob must be"),
        ("[augment]\nmethod = 'cutmix'\n", ["augment.method=cutmx"],
         "the command line: augment.method must be one of "),
        ("[augment]\nmethod = 'cutmix'\nprob = 3.0\n", [], "{row}:3: [augment] prob must be"),
    ],
    ids=["both", "both-again", "override", "other-method", "unknown-method", "file"],
)  # fmt: skip
def test_errors_about_several_keys_name_where_each_was_set(
    tmp_path: Path, text: str, words: list[str], places: str
) -> None:
    row = _write(tmp_path, row=text)
    with pytest.raises(RecipeError) as refusal:
        load_recipe(row, words)
    assert str(refusal.value).startswith(places.format(row=row))


def test_errors_about_what_a_debug_form_sets_say_so(tmp_path: Path) -> None:
    row = _write(tmp_path, row="[train]\nepochs = 9\n[loss]\nname = 'class-balanced'\n")
    words = ["loss.deferred_reweighting=true", "loss.reweighting_epoch=5"]
    load_recipe(row, words)
    with pytest.raises(RecipeError, match=r"^the command line and the debug form: loss.rew"):
        load_recipe(row, words, debug=True)


def test_errors_that_show_later_are_pointed_out_too(tmp_path: Path) -> None:
    row = _write(tmp_path, row="[loss]\nname = 'ldam'\n")
    _, places = load_with_places(row, ["seed=3"])
    with (
        pytest.raises(RecipeError, match=rf"^{re.escape(str(row))}:2: loss.name = 'ldam' needs a"),
        places.pointed_out(),
    ):
        raise RecipeError("loss.name = 'ldam' needs a network with a normalised head")
    with pytest.raises(RecipeError, match=r"^run folder x holds"), places.pointed_out():
        raise RecipeError("run folder x holds a run already: its seed is 3, see recipe.toml")


def test_circles_and_missing_bases_are_refused(tmp_path: Path) -> None:
    row = _write(tmp_path, a="extends = 'b.toml'\n", b="extends = 'a.toml'\n")
    with pytest.raises(RecipeError, match=r"in a circle: .*b\.toml -> .*a\.toml -> .*b\.toml"):
        load_recipe(row)
    row = _write(tmp_path, row="extends = 'none.toml'\n")
    with pytest.raises(RecipeError, match=r"no recipe .*none\.toml, which .*row\.toml extends"):
        load_recipe(row)
    row = _write(tmp_path, row="extends = 3\n")
    with pytest.raises(RecipeError, match="extends must be the path of a recipe, got 3"):
        load_recipe(row)


def test_a_recipe_that_is_not_there_lists_near_names_or_a_few(tmp_path: Path) -> None:
    _write(tmp_path, **{f"table{number}_scae": "" for number in range(9)})
    with pytest.raises(RecipeError, match=r"did you mean .*/table3_scae\.toml, .*\.toml\?$"):
        load_recipe(tmp_path / "table3_sca.toml")
    with pytest.raises(RecipeError, match=r"folder: .*/table0_scae\.toml, .* and 3 more$"):
        load_recipe(tmp_path / "xyz.toml")
    with pytest.raises(RecipeError, match=r"recipes in that folder: none$"):
        load_recipe(tmp_path / "nowhere" / "xyz.toml")


@pytest.mark.parametrize("word", ["table1_scae", "table1_scae.toml", "table1_scea.toml"])
def test_a_bare_name_is_told_the_path_of_the_recipe(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipes").mkdir()
    _write(tmp_path / "recipes", table1_scae="", table2_cutmix="")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=r"; did you mean recipes/table1_scae\.toml\?$"):
        load_recipe(word)


def test_debug_forms_keep_the_methods_and_end_in_seconds(tmp_path: Path) -> None:
    row = _write(
        tmp_path,
        row="name = 'row'\n[data]\nname = 'imagenet'\nroot = '/none'\n[train]\nepochs = 90\n"
        "schedule = 'step'\nmilestones = [30, 60]\n[network]\nname = 'torchvision:resnet50'\n"
        "[augment]\nmethod = 'grid_mask'\nperiod = [96, 224]\nprob = 0.7\n"
        "[second_stage]\nname = 'crt'\n",
    )
    full, debug = load_recipe(row), load_recipe(row, debug=True)
    assert (debug.name, debug.data.name, debug.data.root) == ("row (debug)", "shapes", None)
    assert (debug.num_epochs, debug.train.milestones, debug.data.imbalance) == (3, (1,), 1.0)
    assert debug.augment.name == full.augment.name
    assert debug.as_dict()["augment"]["prob"] == 0.7
    assert debug.second_stage.name == "crt"
    assert load_recipe(row, ["train.epochs=5"], debug=True).train.epochs == 5


def test_learning_rate_falls_in_steps_as_torchs_does() -> None:
    words = [
        "train.epochs=10",
        "train.schedule=step",
        "train.milestones=[3, 6, 12]",
        "train.lr=0.5",
    ]
    train = load_recipe(None, words).train
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 6, 12], gamma=0.1)
    for epoch in range(10):
        assert learning_rate(train, epoch) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        steps.step()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train.schedule=step"], "milestones must be there with schedule 'step', got"),
        (["train.milestones=[3]"], "milestones must be left out with schedule 'cosine'"),
        (["train.schedule=step", "train.milestones=[3, 2]"], "milestones must be rising epochs"),
        (["train.schedule=step", "train.milestones=[0]"], "milestones must be rising epochs"),
        (["train.schedule=step", "train.milestones=[3]", "train.step_factor=1.0"],
         "step_factor must be above 0 and below 1"),
    ],
)  # fmt: skip
def test_steps_that_make_no_sense_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(None, words)
