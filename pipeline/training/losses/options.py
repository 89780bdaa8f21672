"""Section [loss] of a recipe."""

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import RecipeError
from pipeline.training.checks import refuse_unused, require

LossName = Literal[
    "cross-entropy",
    "label-smoothing",
    "class-balanced",
    "focal",
    "class-balanced-focal",
    "ldam",
    "balanced-softmax",
    "logit-adjustment",
]

WEIGHTED = ("class-balanced", "class-balanced-focal")
"""Losses that weigh classes by their effective number of images from the start."""
DEFERRABLE = (*WEIGHTED, "ldam")
"""Losses that can have these weights from a later epoch on (DRW)."""
FOCAL = ("focal", "class-balanced-focal")
"""Losses that take each class for a question of its own."""
_INTEGERS_WHY = {
    **dict.fromkeys(WEIGHTED, "its weight is that of the one class of a sample"),
    "focal": "it asks for each class whether the sample is of it, yes or no",
    "ldam": "its margin is that of the one class of a sample",
}
_USED_BY = {
    "smoothing": ("label-smoothing",),
    "cb_beta": DEFERRABLE,
    "gamma": FOCAL,
    "max_margin": ("ldam",),
    "scale": ("ldam",),
    "tau": ("logit-adjustment",),
    "average": DEFERRABLE,
    "deferred_reweighting": DEFERRABLE,
    "reweighting_epoch": DEFERRABLE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class LossRecipe:
    """Section [loss]: what training minimises; the defaults are the methods' own."""

    name: LossName = "cross-entropy"
    """The loss."""
    smoothing: float = 0.1
    """label-smoothing: share of the label spread over all K classes, in [0, 1)."""
    cb_beta: float = 0.9999
    """Class-balanced weights: b of the effective number (1 - b^n) / (1 - b), in [0, 1)."""
    gamma: float = 1.0
    """Focal losses: exponent of the modulating factor, 0 or more; 0 is binary cross entropy."""
    max_margin: float = 0.5
    """ldam: margin of the smallest class, above 0."""
    scale: float = 30.0
    """ldam: factor s of the cosines, above 0."""
    tau: float = 1.0
    """logit-adjustment: strength, above 0."""
    deferred_reweighting: bool = False
    """DRW: class-balanced weights only from `reweighting_epoch` on."""
    reweighting_epoch: int | None = None
    """0-based epoch; left out: 160 / 200 of the epochs."""
    average: Literal["samples", "weights"] = "samples"
    """Weighted losses are summed and divided by the number of samples, or by their weights' sum."""

    def __post_init__(self) -> None:
        require("smoothing", 0 <= self.smoothing < 1, "in [0, 1)", self.smoothing)
        require("cb_beta", 0 <= self.cb_beta < 1, "in [0, 1)", self.cb_beta)
        require("gamma", self.gamma >= 0, "0 or more", self.gamma)
        for name in ("max_margin", "scale", "tau"):
            require(name, getattr(self, name) > 0, "above 0", getattr(self, name))
        refuse_unused(self, "loss", _USED_BY)
        if self.reweighting_epoch is not None and not self.deferred_reweighting:
            raise RecipeError("reweighting_epoch must come with deferred_reweighting = true")

    @property
    def integers_why(self) -> str | None:
        """Why labels must be integers; None where soft labels are as good."""
        return _INTEGERS_WHY.get(self.name)

    @property
    def logit_scale(self) -> float:
        """Factor that makes the network's output logits: s where it returns cosines, else 1."""
        return self.scale if self.name == "ldam" else 1.0

    def reweight_from(self, num_epochs: int) -> int | None:
        """Return the 0-based epoch that class-balanced weights begin at, None for no weights."""
        if not self.deferred_reweighting:
            return 0 if self.name in WEIGHTED else None
        if self.reweighting_epoch is not None:
            return self.reweighting_epoch
        return num_epochs * 160 // 200
