from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tomli_w

from loaders.methods.registry import METHODS
from pipeline.errors import RecipeError
from pipeline.training.recipe import Recipe
from pipeline.training.recipe_file import load_recipe
from pipeline.training.schedule import learning_rate

ROOT = Path(__file__).parent.parent.parent


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda p: p.name)
def test_every_shipped_recipe_loads(path: Path) -> None:
    assert load_recipe(path).name != "run"


def test_overrides_win_over_the_file_and_are_typed(tmp_path: Path) -> None:
    path = _write(tmp_path, "seed = 3\n[train]\nepochs = 7\n[data]\nname = 'shapes'\n")
    recipe = load_recipe(path, ["train.epochs=9", "data.name=cifar10", "augment.area=[0.1, 0.2]"])
    assert (recipe.seed, recipe.train.epochs, recipe.data.name) == (3, 9, "cifar10")
    assert recipe.as_dict()["augment"]["area"] == [0.1, 0.2]


def test_resolved_recipe_reads_back_as_itself(tmp_path: Path) -> None:
    recipe = load_recipe(None, ["train.epochs=9", "network.options.normed_head=true"])
    path = _write(tmp_path, tomli_w.dumps(recipe.as_dict()))
    assert load_recipe(path) == recipe
    assert load_recipe(path).digest() == recipe.digest()


def test_digest_is_about_the_result_alone() -> None:
    digest = load_recipe(None).digest()
    assert load_recipe(None, ["train.workers=3", "name=other"]).digest() == digest
    assert load_recipe(None, ["augment.lambda_max=3"]).digest() != digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "[train]\nepoch = 3",
            r"unknown recipe key train.epoch; did you mean train.epochs\?",
            id="near-key",
        ),
        pytest.param(
            "[tarin]\nepochs = 3", "unknown recipe key tarin; did you mean train", id="near-section"
        ),
        pytest.param(
            "[train]\nxyzzy = 3",
            "unknown recipe key train.xyzzy; known keys: epochs, ",
            id="far-key",
        ),
        pytest.param(
            "[train]\nepochs = 'ten'", "train.epochs must be a whole number, got 'ten'", id="text"
        ),
        pytest.param(
            "[train]\nepochs = true", "train.epochs must be a whole number, got True", id="bool"
        ),
        pytest.param(
            "[train]\nepochs = 0", r"\[train\] epochs must be 1 or more, got 0", id="zero"
        ),
        pytest.param("[train]\nlr = 0", r"\[train\] lr must be above 0, got 0.0", id="lr"),
        pytest.param("train = 3", r"train must be a section \[train\], got 3", id="no-section"),
        pytest.param(
            "[data]\ncrop = 'big'",
            "data.crop must be one of auto, pad, resized, got 'big'",
            id="word",
        ),
        pytest.param(
            "[augment]\narea = [0.1]", r"augment.area must be a list of 2, got \[0.1\]", id="pair"
        ),
        pytest.param(
            "[augment]\narea = [0.5, 0.1]", r"\[augment\] area must be \(low, high\)", id="bounds"
        ),
        pytest.param(
            "[augment]\naspect = [0.0, 2.0]",
            r"\[augment\] aspect must be \(low, high\)",
            id="aspect",
        ),
        pytest.param(
            "[augment]\np_min = 0.9",
            r"\[augment\] p_min must be in \[0, p_max = 0.5\], got 0.9",
            id="p",
        ),
        pytest.param(
            "[augment]\nmethod = 'cutmx'",
            r"augment.method must be one of none, scae, .*, got 'cutmx'; did you mean cutmix\?",
            id="method",
        ),
        pytest.param(
            "[augment]\nmethod = 'cutmix'\nlambda_max = 2.0",
            r"unknown recipe key augment.lambda_max; .*prob, alpha \(method cutmix\)",
            id="option-of-another-method",
        ),
        pytest.param(
            "[augment]\nmethod = 'cutmix'\nprob = 2.0",
            r"\[augment\] prob must be in \[0, 1\], got 2.0",
            id="method-bounds",
        ),
        pytest.param("augment = 3", r"augment must be a section \[augment\], got 3", id="augment"),
        pytest.param("seed = -1", "seed must be 0 or more, got -1", id="seed"),
        pytest.param("seed = = 1", "is not TOML", id="syntax"),
    ],
)
def test_wrong_recipes_are_refused_with_place_and_cure(
    tmp_path: Path, text: str, message: str
) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(RecipeError, match=message) as refusal:
        load_recipe(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_missing_recipe_lists_those_beside_it(tmp_path: Path) -> None:
    path = _write(tmp_path, "")
    with pytest.raises(RecipeError, match=r"recipes in that folder: .*recipe\.toml"):
        load_recipe(path.with_name("other.toml"))


def test_another_method_begins_with_its_own_defaults(tmp_path: Path) -> None:
    path = _write(tmp_path, "[augment]\nlambda_max = 3.0\n")
    same = load_recipe(path, ["augment.method=scae"]).as_dict()["augment"]
    assert (same["method"], same["lambda_max"]) == ("scae", 3.0)
    assert load_recipe(path, ["augment.method=none"]).as_dict()["augment"] == {"method": "none"}
    mixed = load_recipe(path, ["augment.method=cutmix", "augment.prob=1"]).as_dict()["augment"]
    assert mixed == {"method": "cutmix", "prob": 1.0, "alpha": 1.0}


@pytest.mark.parametrize(
    ("words", "fill"),
    [
        (["augment.fill=0.5"], 0.5),
        (["augment.fill=[0.1, 0.2, 0.3]"], [0.1, 0.2, 0.3]),
        (["augment.method=random_erasing", "augment.fill=random"], "random"),
    ],
)
def test_options_of_several_kinds_are_told_apart(words: list[str], fill: object) -> None:
    recipe = load_recipe(None, words)
    assert recipe.as_dict()["augment"]["fill"] == fill


@pytest.mark.parametrize("name", METHODS)
def test_recipes_of_every_method_read_back_as_themselves(tmp_path: Path, name: str) -> None:
    recipe = load_recipe(None, [f"augment.method={name}"])
    assert recipe.augment.name == name
    assert load_recipe(_write(tmp_path, tomli_w.dumps(recipe.as_dict()))) == recipe


@pytest.mark.parametrize("word", ["train.epochs", "=3"])
def test_overrides_without_key_and_value_are_refused(word: str) -> None:
    with pytest.raises(RecipeError, match="--set must be key=value"):
        load_recipe(None, [word])


def test_learning_rate_falls_by_a_cosine_after_the_warm_up() -> None:
    train = Recipe(train=load_recipe(None, ["train.epochs=10"]).train).train
    rates = [learning_rate(train, epoch) for epoch in range(10)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[5] == pytest.approx((0.1 + 1e-4) / 2)
    assert rates == sorted(rates, reverse=True)
    warm = load_recipe(None, ["train.epochs=10", "train.warmup_epochs=4"]).train
    assert [learning_rate(warm, epoch) for epoch in range(5)] == pytest.approx(
        [0.02, 0.04, 0.06, 0.08, 0.1]
    )


def test_shipped_recipes_are_toml_with_a_command_in_their_head() -> None:
    for path in (ROOT / "recipes").glob("*.toml"):
        tomllib.loads(path.read_text())
        assert "scae train --recipe" in path.read_text().split("name =", 1)[0]
