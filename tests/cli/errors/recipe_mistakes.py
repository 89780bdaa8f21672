"""Mistakes about recipes: their files, keys, and values that are none."""

from __future__ import annotations

from tests.cli.errors.provoke import NEW_RUN, NEXT_RUN, Mistake

FILE = f"{NEW_RUN} --recipe {{tmp}}/mine.toml"
BUILT = "pipeline/training/recipe_file.py::_build#3"


def _set(name: str, word: str, message: str, cure: str, *at: str) -> Mistake:
    """Return a mistake in a recipe's values."""
    return Mistake(name, f"{NEW_RUN} --set {word}", message, cure, " ".join(at))


def _require(name: str, word: str, message: str) -> Mistake:
    return _set(
        name, word, message, message.partition(", got")[0],
        "pipeline/training/checks.py::require", BUILT,
    )  # fmt: skip


RECIPE_MISTAKES = (
    Mistake(
        "recipe-not-there",
        f"{NEW_RUN} --recipe {{tmp}}/none.toml",
        "no recipe",
        "recipes in that folder: none",
        "pipeline/training/recipe_layers.py::_read",
    ),
    Mistake(
        "recipe-is-a-folder",
        f"{NEW_RUN} --recipe {{tmp}}",
        "can't read recipe",
        "Is a directory",
        "pipeline/training/recipe_layers.py::_read#2",
    ),
    Mistake(
        "recipe-no-toml",
        FILE,
        "mine.toml",
        "line 1",
        "pipeline/training/recipe_layers.py::_read#3",
        prepare=lambda place: place.write("mine.toml", "epochs: 3\n"),
    ),
    Mistake(
        "recipe-extends-a-number",
        FILE,
        "extends must be the path of a recipe, got 3",
        "the path of a recipe",
        "pipeline/training/recipe_layers.py::_chain",
        prepare=lambda place: place.write("mine.toml", "extends = 3\n"),
    ),
    Mistake(
        "recipe-extends-itself",
        FILE,
        "recipes extend each other in a circle",
        "mine.toml ->",
        "pipeline/training/recipe_layers.py::_chain#2",
        prepare=lambda place: place.write("mine.toml", 'extends = "mine.toml"\n'),
    ),
    _set(
        "harvest-without-its-mode",
        "harvest.decay=0.9",
        "harvest.decay must be left out with refresh.mode = 'pass'",
        "set refresh.mode = 'harvest'",
        "pipeline/training/combinations.py::_check_harvest",
        BUILT,
    ),
    _set(
        "harvest-for-nobody",
        "refresh.mode=harvest --set augment.method=cutmix",
        "refresh.mode must be 'pass' with augment.method = 'cutmix'",
        "which reads no maps",
        "pipeline/training/combinations.py::_check_harvest#2",
        BUILT,
    ),
    _set(
        "override-without-value",
        "train.epochs",
        "--set must be key=value",
        "such as train.epochs=3, got 'train.epochs'",
        "pipeline/training/recipe_layers.py::_word_values",
    ),
    _set(
        "key-misspelt",
        "train.epoch=3",
        "unknown recipe key train.epoch",
        "did you mean train.epochs?",
        "pipeline/training/recipe_file.py::_build",
    ),
    _set(
        "section-is-a-value",
        "train=3",
        "train must be a section [train], got 3",
        "[train]",
        "pipeline/training/recipe_file.py::_build#2",
    ),
    _set(
        "method-is-a-value",
        "augment=3",
        "augment must be a section [augment], got 3",
        "[augment]",
        "pipeline/training/recipe_file.py::_build_method",
    ),
    _set(
        "method-misspelt",
        "augment.method=cutmx",
        "augment.method must be one of",
        "did you mean cutmix?",
        "pipeline/training/recipe_file.py::_build_method#2",
    ),
    _set(
        "option-of-another-method",
        "augment.lambda_maxx=3",
        "unknown recipe key augment.lambda_maxx",
        "did you mean augment.lambda_max?",
        "pipeline/training/recipe_file.py::_build_method#3",
    ),
    _set(
        "value-not-allowed",
        "train.schedule=linear",
        "train.schedule must be one of cosine, step, got 'linear'",
        "one of cosine, step",
        "pipeline/training/recipe_file.py::_converted",
    ),
    _set(
        "list-of-the-wrong-length",
        "augment.area=[0.1]",
        "augment.area must be a list of 2, got [0.1]",
        "a list of 2",
        "pipeline/training/recipe_file.py::_converted#2",
    ),
    _set(
        "value-of-the-wrong-type",
        "train.epochs=many",
        "train.epochs must be a whole number, got 'many'",
        "a whole number",
        "pipeline/training/recipe_file.py::_converted#3",
    ),
    _require("no-epochs", "train.epochs=0", "epochs must be 1 or more, got 0"),
    _require("no-learning-rate", "train.lr=0", "lr must be above 0, got 0"),
    _require("ema-of-one", "train.ema=1.0", "ema must be 0 or more and below 1, got 1.0"),
    _require("milestones-of-cosine", "train.milestones=[3]", "milestones must be left out with"),
    _require("negative-seed", "seed=-1", "seed must be 0 or more, got -1"),
    _require("huge-seed", f"seed={2**63}", "seed must be below 2**63, got 9223372036854775808"),
    _require("negative-interval", "refresh.interval=-1", "interval must be 0 or more, got -1"),
    _require("smoothing-of-two", "loss.smoothing=2.0", "smoothing must be in [0, 1), got 2"),
    _require("much-held-out", "second_stage.holdout=0.9", "holdout must be in [0, 0.5], got 0.9"),
    _set(
        "area-falls",
        "augment.area=[0.5,0.2]",
        "area must be (low, high) with 0 < low <= high",
        "got (0.5, 0.2)",
        "loaders/checks.py::check_range",
        BUILT,
    ),
    _set(
        "probability-above-one",
        "augment.p_max=1.5",
        "p_max must be in [0, 1], got 1.5",
        "in [0, 1]",
        "loaders/policy.py::_check_numbers",
        BUILT,
    ),
    _set(
        "unused-setting",
        "loss.gamma=2.0",
        "gamma must be left out with loss 'cross-entropy', where it would do nothing",
        "it belongs to focal, class-balanced-focal",
        "pipeline/training/checks.py::refuse_unused",
        BUILT,
    ),
    Mistake(
        "grid-period-falls",
        f"{NEXT_RUN} --set augment.method=grid_mask --set augment.period=[9,3]",
        "period must be two whole numbers (low, high) with 2 <= low < high",
        "got (9, 3)",
        f"loaders/methods/grid_mask.py::GridMask.__post_init__ {BUILT}",
    ),
)
