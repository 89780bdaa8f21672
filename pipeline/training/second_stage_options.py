"""Section [second_stage] of a recipe: what happens to the classifier after the training proper."""

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import RecipeError
from pipeline.training.checks import refuse_unused, require

SecondStageName = Literal["none", "crt", "lws", "tau-norm", "mislas"]

_DEFAULTS: dict[str, tuple[int, float, float]] = {
    "none": (0, 0.0, 0.0),
    "crt": (10, 0.2, 5e-4),
    "lws": (5, 0.2, 5e-4),
    "tau-norm": (0, 0.0, 0.0),
    "mislas": (10, 0.1, 2e-4),
}
"""Epochs, learning rate and weight decay of each method's own code."""
SCALED = ("lws", "mislas")
"""Second stages that learn a factor a class."""
_USED_BY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("epochs", "lr", "weight_decay", "samples_per_class", "shifted_bn", "augment"),
        ("crt", "lws", "mislas"),
    ),
    **dict.fromkeys(("classifier_lr", "smoothing_head", "smoothing_tail"), ("mislas",)),
    **dict.fromkeys(("tau", "holdout"), ("tau-norm",)),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SecondStageRecipe:
    """Section [second_stage]; the backbone's weights are frozen in all of them."""

    name: SecondStageName = "none"
    """crt trains a new head, lws factors of the logits, mislas both with label-aware smoothing;
    tau-norm divides the head's rows by their norms to the power of tau, without training."""
    epochs: int | None = None
    """Epochs after the first stage's; left out: 10 (crt, mislas) or 5 (lws)."""
    lr: float | None = None
    """Learning rate that a cosine begins with and takes to 0; left out: 0.2, mislas 0.1."""
    weight_decay: float | None = None
    """L2 penalty of what is trained; left out: 5e-4, mislas 2e-4."""
    samples_per_class: int = 4
    """Images in a row that the class-aware sampler takes of each class drawn."""
    shifted_bn: bool = True
    """BatchNorm goes on tracking statistics, now of class-balanced batches."""
    augment: bool = False
    """Erase and mix as in the first stage's last epoch; False: crop and flip alone."""
    classifier_lr: float = 0.2
    """mislas: the head's learning rate over that of the factors."""
    smoothing_head: float = 0.4
    """mislas: label-aware smoothing of the largest class, in [0, 1)."""
    smoothing_tail: float = 0.1
    """mislas: label-aware smoothing of the smallest class, in [0, 1)."""
    tau: float | None = None
    """tau-norm: exponent to apply, 0 or more; left out: see `holdout`."""
    holdout: float = 0.0
    """tau-norm: share of each class's training images kept out to choose tau by, in [0, 0.5]; 0
    chooses none, and the report shows the accuracy of every tau."""

    def __post_init__(self) -> None:
        for name in ("epochs", "samples_per_class"):
            value = getattr(self, name)
            require(name, value is None or value >= 1, "1 or more", value)
        for name in ("lr", "classifier_lr"):
            value = getattr(self, name)
            require(name, value is None or value > 0, "above 0", value)
        for name in ("weight_decay", "tau"):
            value = getattr(self, name)
            require(name, value is None or value >= 0, "0 or more", value)
        for name in ("smoothing_head", "smoothing_tail"):
            require(name, 0 <= getattr(self, name) < 1, "in [0, 1)", getattr(self, name))
        require("holdout", 0 <= self.holdout <= 0.5, "in [0, 0.5]", self.holdout)
        refuse_unused(self, "second stage", _USED_BY)
        if self.tau is not None and self.holdout:
            raise RecipeError("tau and holdout both choose the exponent: leave one of them out")

    @property
    def num_epochs(self) -> int:
        """Epochs that it adds to the run."""
        return _DEFAULTS[self.name][0] if self.epochs is None else self.epochs

    @property
    def base_lr(self) -> float:
        """Learning rate at its start."""
        return _DEFAULTS[self.name][1] if self.lr is None else self.lr

    @property
    def decay(self) -> float:
        """L2 penalty."""
        return _DEFAULTS[self.name][2] if self.weight_decay is None else self.weight_decay
