"""What a recipe may say: one TOML file a run, every key known, typed and bounded."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cache_store.records import canonical_json, sha256
from loaders.methods.method import MethodOptions
from loaders.methods.scae import ScaeOptions
from pipeline.training.checks import require
from pipeline.training.combinations import check_combinations
from pipeline.training.harvest_recipe import HarvestRecipe
from pipeline.training.losses.options import LossRecipe
from pipeline.training.refresh_recipe import LATER_REFRESH_KEYS, RefreshRecipe
from pipeline.training.second_stage_options import SecondStageRecipe

LATER_KEYS: dict[str, dict[str, Any]] = {
    "train": {"accumulate": 1, "decay_norm_bias": True, "ema": 0.0},
    "refresh": LATER_REFRESH_KEYS,
}
"""Keys of sections that came after runs were recorded, with the value that changes nothing: left
out then, so that those runs keep their digest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataRecipe:
    """Section [data]."""

    name: str = "shapes"
    """shapes, cifar10, cifar100, imagenet, or a folder of class folders."""
    imbalance: float | None = None
    """Largest class over smallest; left out: 100 for shapes, else as it is."""
    subset_seed: int = 0
    """Seed of the long-tailed choice."""
    classes: int | None = None
    """Number of classes, left out: all."""
    root: str | None = None
    """Folder of a named data set."""
    download: bool = False
    """Fetch CIFAR if it is not there."""
    deep: bool = False
    """Know a folder's images by their bytes, not their sizes: reads every file at the start."""
    size: int | None = None
    """Side of the network's input in pixels; left out: the network's own."""
    crop: Literal["auto", "pad", "resized"] = "auto"
    """'pad' crops the zero-padded image, 'resized' cuts and resizes; auto: pad up to 64 pixels."""
    auto_augment: Literal["none", "randaugment", "autoaugment", "trivialaugment"] = "none"
    """Changes of colour and geometry after crop and flip by torchvision's values; maps follow."""
    in_memory: Literal["auto", "yes", "no"] = "auto"
    """Decode a folder once, at the start; auto: where the network's input has up to 64 pixels."""
    evaluate: bool = True
    """Measure accuracy on the test split after every epoch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkRecipe:
    """Section [network]."""

    name: str = "resnet8"
    """Network name, as for `scae refresh --network`."""
    weights: str = "random"
    """'random', 'default' or a file to start from."""
    target_layer: str | None = None
    """Layer to explain; left out: found by itself."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the network's constructor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRecipe:
    """Section [train]."""

    epochs: int = 200
    """T."""
    batch_size: int = 128
    """Images a step, or a part of one with `accumulate`."""
    accumulate: int = 1
    """Batches a step: it follows the mean over all their samples, also where fewer are left."""
    lr: float = 0.1
    """Learning rate at the start."""
    schedule: Literal["cosine", "step"] = "cosine"
    """How the learning rate falls: to `lr_min` by half a cosine, or in steps."""
    lr_min: float = 1e-4
    """cosine: learning rate that it ends at."""
    milestones: tuple[int, ...] = ()
    """step: 0-based epochs that the learning rate falls at; those after the end do nothing."""
    step_factor: float = 0.1
    """step: what the learning rate is multiplied by at each, above 0 and below 1."""
    warmup_epochs: int = 0
    """Epochs in which the learning rate grows linearly."""
    momentum: float = 0.9
    """SGD momentum."""
    weight_decay: float = 5e-4
    """L2 penalty."""
    decay_norm_bias: bool = True
    """Whether it is, in the first stage, on parameters of one axis too: norm weights, biases."""
    ema: float = 0.0
    """Decay, below 1, of the first stage's weight average, which is what is evaluated; 0: none."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the processor computes it natively."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU if there is one."""
    workers: int | None = None
    """Loader processes; left out: none for data in memory, else one a core."""
    keep_checkpoints: int = 2
    """Newest checkpoints to keep."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "keep_checkpoints"):
            require(name, getattr(self, name) >= 1, "1 or more", getattr(self, name))
        for name in ("lr_min", "warmup_epochs", "momentum", "weight_decay"):
            require(name, getattr(self, name) >= 0, "0 or more", getattr(self, name))
        require("lr", self.lr > 0, "above 0", self.lr)
        require("ema", 0 <= self.ema < 1, "0 or more and below 1", self.ema)
        self._check_steps()

    def _check_steps(self) -> None:
        require("step_factor", 0 < self.step_factor < 1, "above 0 and below 1", self.step_factor)
        rising = list(self.milestones) == sorted({epoch for epoch in self.milestones if epoch > 0})
        require("milestones", rising, "rising epochs above 0", list(self.milestones))
        if self.schedule == "step":
            require("milestones", bool(self.milestones), "there with schedule 'step'", [])
        else:
            allowed = "left out with schedule 'cosine', which has none"
            require("milestones", not self.milestones, allowed, list(self.milestones))


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateRecipe:
    """Section [evaluate]: what is measured on the test split beside accuracy."""

    top5: Literal["auto", "yes", "no"] = "auto"
    """Right class among the five most likely; auto: where there are more than 5 classes."""
    occlusion: bool = False
    """At the end: accuracy on images that lose their most salient, random or least salient area."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One run."""

    name: str = "run"
    """Title of the run."""
    seed: int = 0
    """Decides everything random: weights, order, crops, rectangles."""
    data: DataRecipe = field(default_factory=DataRecipe)
    """What is learnt from."""
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    """What learns."""
    train: TrainRecipe = field(default_factory=TrainRecipe)
    """How."""
    loss: LossRecipe = field(default_factory=LossRecipe)
    """What it minimises."""
    augment: MethodOptions = field(default_factory=ScaeOptions)
    """What is erased or mixed: a method of `loaders.methods.registry`, and its options."""
    refresh: RefreshRecipe = field(default_factory=RefreshRecipe)
    """When maps are made anew."""
    harvest: HarvestRecipe = field(default_factory=HarvestRecipe)
    """How they are taken from training's own steps."""
    evaluate: EvaluateRecipe = field(default_factory=EvaluateRecipe)
    """What is measured."""
    second_stage: SecondStageRecipe = field(default_factory=SecondStageRecipe)
    """What is done to the classifier afterwards."""

    def __post_init__(self) -> None:
        require("seed", self.seed >= 0, "0 or more", self.seed)
        require("seed", self.seed < 2**63, "below 2**63", self.seed)
        check_combinations(self)

    @property
    def num_epochs(self) -> int:
        """Epochs of both stages."""
        return self.train.epochs + self.second_stage.num_epochs

    @property
    def mixing(self) -> str | None:
        """The setting that mixes images, if there is one."""
        augment = self.augment
        if isinstance(augment, ScaeOptions):
            mixed = augment.class_aware and augment.beta > 0 and augment.tau > 0
            return "augment.beta > 0 (MixUp of tail classes)" if mixed else None
        return self.soft_labels

    @property
    def soft_labels(self) -> str | None:
        """The setting that makes labels shares of classes instead of integers, if there is one."""
        if not self.augment.soft_labels:
            return None
        if isinstance(self.augment, ScaeOptions):
            return 'augment.partner = "neighbor"'
        return f"augment.method = {self.augment.name!r}"

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as TOML values; what is left out stays out, `LATER_KEYS` too.

        Section [harvest] is there with `refresh.mode = "harvest"` alone.
        """
        fields = _without_none(asdict(self))
        for section, keys in LATER_KEYS.items():
            for key, default in keys.items():
                if fields[section].get(key) == default:
                    fields[section].pop(key, None)
        if self.refresh.mode != "harvest":
            del fields["harvest"]
        return {**fields, "augment": {"method": self.augment.name, **fields["augment"]}}

    def digest(self) -> str:
        """Return the hex SHA-256 over everything that changes the result."""
        fields = self.as_dict()
        for section, key in (("train", "workers"), ("train", "keep_checkpoints")):
            fields[section].pop(key, None)
        fields.pop("name")
        fields["refresh"] = self.refresh.digested(fields["refresh"])
        return sha256(canonical_json(fields))


def _without_none(value: Any) -> Any:  # noqa: ANN401  # walks nested TOML values
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, tuple):
        return list(value)
    return value
