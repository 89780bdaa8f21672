"""Mistakes about recipes and training: keys, values, settings that contradict each other, runs."""

from __future__ import annotations

import errno
import fcntl
import shutil
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from tests.cli.errors.provoke import REFRESH, Mistake, each, scae

if TYPE_CHECKING:
    from tests.cli.errors.provoke import Place

NEW = "train --run {tmp}/new"
AGAIN = f"{NEW} --from-run {{run}}"
FILE = f"{NEW} --recipe {{tmp}}/mine.toml"
OWN = "train --from-run {run} --run {tmp}/run --resume"
BUILT = "pipeline/training/recipe_file.py::_build#3"


def _set(name: str, word: str, message: str, cure: str, *at: str) -> Mistake:
    """Return a mistake in a recipe's values."""
    return Mistake(name, f"{NEW} --set {word}", message, cure, " ".join(at))


def _require(name: str, word: str, message: str) -> Mistake:
    return _set(
        name, word, message, message.partition(", got")[0],
        "pipeline/training/checks.py::require", BUILT,
    )  # fmt: skip


def _locked(place: Place) -> None:
    def lockf(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "held")

    place.own_run()
    place.patch.setattr(fcntl, "lockf", lockf)


def _future_checkpoint(place: Place) -> None:
    for path in (place.own_run() / "checkpoints").iterdir():
        torch.save(torch.load(path, weights_only=True) | {"version": 99}, path)


TRAINING_MISTAKES = (
    Mistake(
        "recipe-not-there",
        f"{NEW} --recipe {{tmp}}/none.toml",
        "no recipe",
        "recipes in that folder: none",
        "pipeline/training/recipe_layers.py::_read",
    ),
    Mistake(
        "recipe-is-a-folder",
        f"{NEW} --recipe {{tmp}}",
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
        "reweighting-without-deferring",
        f"{NEW} --set loss.name=ldam --set loss.reweighting_epoch=3",
        "reweighting_epoch must come with deferred_reweighting = true",
        "deferred_reweighting = true",
        "pipeline/training/losses/options.py::LossRecipe.__post_init__",
    ),
    Mistake(
        "tau-chosen-twice",
        f"{NEW} --set second_stage.name=tau-norm --set second_stage.tau=1.0 "
        "--set second_stage.holdout=0.1",
        "tau and holdout both choose the exponent",
        "leave one of them out",
        "pipeline/training/second_stage_options.py::SecondStageRecipe.__post_init__",
    ),
    Mistake(
        "accumulated-weights",
        f"{NEW} --set loss.name=class-balanced --set loss.average=weights --set train.accumulate=2",
        "loss.average = 'weights' divides by the sum of a batch's weights",
        "change one of them",
        "pipeline/training/combinations.py::check_combinations",
    ),
    Mistake(
        "occlusion-without-tests",
        f"{NEW} --set evaluate.occlusion=true --set data.evaluate=false",
        "evaluate.occlusion = true needs test images",
        "change one of them",
        "pipeline/training/combinations.py::check_combinations#2",
    ),
    Mistake(
        "soft-labels-for-whole-ones",
        f"{NEW} --set loss.name=focal --set augment.method=mixup",
        "loss.name = 'focal' needs integer labels",
        "change one of them",
        "pipeline/training/combinations.py::_check_labels",
    ),
    Mistake(
        "reweighting-after-the-end",
        f"{NEW} --set loss.name=ldam --set loss.deferred_reweighting=true "
        "--set loss.reweighting_epoch=9 --set train.epochs=3",
        "loss.reweighting_epoch must be before the end of train.epochs = 3, got 9",
        "before the end of",
        "pipeline/training/combinations.py::_check_reweighting",
    ),
    Mistake(
        "too-few-checkpoints-for-a-watcher",
        f"{NEW} --set refresh.executor=external --set refresh.lag=3 --set train.keep_checkpoints=2",
        "train.keep_checkpoints must be above refresh.lag = 3",
        "got 2",
        "pipeline/training/combinations.py::_check_refresh",
    ),
    Mistake(
        "mixing-beside-smoothing",
        f"{NEW} --set second_stage.name=mislas --set second_stage.augment=true "
        "--set augment.method=mixup",
        "second_stage.augment = true must come without mixing",
        "switch one of them off",
        "pipeline/training/combinations.py::_check_second_stage",
    ),
    Mistake(
        "tau-norm-of-cosines",
        f"{NEW} --set loss.name=ldam --set network.options.normed_head=true "
        "--set second_stage.name=tau-norm",
        "second_stage.name = 'tau-norm' changes the norms of the head's weights",
        "use 'crt', or another loss",
        "pipeline/training/combinations.py::_check_second_stage#2",
    ),
    Mistake(
        "smoothing-of-equal-classes",
        f"{AGAIN} --set second_stage.name=mislas",
        "second_stage.name = 'mislas' smooths labels by class size, and all classes have 6",
        "use long-tailed data (data.imbalance), or 'crt'",
        "pipeline/training/combinations.py::check_data",
    ),
    Mistake(
        "top5-of-three",
        f"{AGAIN} --set evaluate.top5=yes",
        "evaluate.top5 = 'yes' must come with more than 5 classes, got 3",
        "more than 5 classes",
        "pipeline/training/combinations.py::check_data#2",
    ),
    Mistake(
        "ldam-without-cosines",
        f"{AGAIN} --set loss.name=ldam",
        "loss.name = 'ldam' needs a network with a normalised head",
        "network.options.normed_head = true",
        "pipeline/training/head.py::_check_normalised",
    ),
    Mistake(
        "cosines-without-ldam",
        f"{AGAIN} --set network.options.normed_head=true",
        "has a normalised head, whose cosines are too small",
        "or leave out network.options.normed_head",
        "pipeline/training/head.py::_check_normalised#2",
    ),
    Mistake(
        "focal-without-bias",
        f"{AGAIN} --set loss.name=focal --network {{tmp}}/mine.py:build",
        "must have a head with a bias for focal losses, got none",
        "a head with a bias",
        "pipeline/training/head.py::_begin_rare",
        prepare=lambda place: _network(place, "self.head(out)", "bias=False"),
    ),
    Mistake(
        "second-stage-without-head",
        f"{AGAIN} --set second_stage.name=crt --network {{tmp}}/mine.py:build",
        "must return what its last linear layer does",
        "for a second stage to train that layer alone",
        "pipeline/training/head.py::_check_last",
        prepare=lambda place: _network(place, "2 * self.head(out)", "bias=True"),
    ),
    Mistake(
        "second-stage-without-linear-layer",
        f"{AGAIN} --set second_stage.name=crt --network {{tmp}}/mine.py:build",
        "must end in a linear layer of 3 classes for this loss or second stage, got",
        "a linear layer of 3 classes",
        "pipeline/training/head.py::head_of",
        prepare=lambda place: _network(place, "out[:, :3]", "bias=True", "5"),
    ),
    Mistake(
        "maps-from-nowhere",
        f"{AGAIN} --set augment.method=keepaugment --set augment.length=8 "
        "--set augment.saliency=maps",
        "augment.method = 'keepaugment' takes its places from saliency maps, but there are none at",
        "name a cache with --cache, or set refresh.interval",
        "pipeline/training/refreshes.py::Refreshes._require_none_needed",
    ),
    Mistake(
        "no-test-images",
        f"{AGAIN} --set data.evaluate=true",
        "has no folder for split 'test'",
        "or train without: --set data.evaluate=false",
        "loaders/folder_index.py::find_split#4 pipeline/training/setup.py::_test_data",
    ),
    Mistake(
        "masks-of-photographs",
        f"{AGAIN} --set augment.method=scae --set augment.maps=mask",
        "needs data whose object masks are known",
        "use shapes",
        "loaders/methods/scae.py::Scae.check_data",
    ),
    Mistake(
        "hole-larger-than-the-image",
        f"{AGAIN} --set augment.method=cutout --set augment.length=40",
        "length of cutout must be at most the image's 16 pixels, got 40",
        "at most the image's 16 pixels",
        "loaders/methods/cutout.py::Cutout.build",
    ),
    Mistake(
        "grid-larger-than-the-image",
        f"{AGAIN} --set augment.method=grid_mask --set augment.period=[20,90]",
        "period of grid_mask must stay within the image's 16 pixels",
        "set period = [12, 17]",
        "loaders/methods/grid_mask.py::GridMask.build",
    ),
    Mistake(
        "grid-period-falls",
        f"{AGAIN} --set augment.method=grid_mask --set augment.period=[9,3]",
        "period must be two whole numbers (low, high) with 2 <= low < high",
        "got (9, 3)",
        f"loaders/methods/grid_mask.py::GridMask.__post_init__ {BUILT}",
    ),
    Mistake(
        "kept-square-larger-than-the-image",
        f"{AGAIN} --cache {{cache}} --set augment.method=keepaugment --set augment.length=40",
        "length of keepaugment must be below the image's 16 pixels, got 40",
        "below the image's 16 pixels",
        "loaders/methods/keep_augment.py::KeepAugmentOptions.build",
    ),
    Mistake(
        "images-of-several-sizes",
        f"{AGAIN} --data {{tmp}}/data --set data.in_memory=yes",
        "must have one size to be held in memory",
        "resize them or read them from files",
        "loaders/folder_data.py::to_arrays.fill",
        prepare=lambda place: _another_size(place),
    ),
    Mistake(
        "run-is-there",
        "train --from-run {run} --run {run}",
        "holds a run already",
        "go on with it by --resume, or name another --run",
        "pipeline/training/trainer.py::_taken",
    ),
    Mistake(
        "nothing-to-resume",
        f"{AGAIN} --resume must",
        "has no checkpoint to go on from",
        "name the run's own --run, or begin it by --resume auto",
        "pipeline/training/trainer.py::_taken#2",
    ),
    Mistake(
        "run-folder-not-to-be-made",
        "train --from-run {run} --run {tmp}/notes.txt/run",
        "can't make run folder",
        "name another --run",
        "pipeline/training/run_folder.py::RunFolder.make",
        prepare=lambda place: place.write("notes.txt", "mine"),
    ),
    Mistake(
        "run-in-use",
        OWN,
        "works in",
        "wait for it, stop it, or name another folder",
        "pipeline/training/folder_lock.py::folder_lock#2",
        prepare=_locked,
    ),
    Mistake(
        "log-not-to-be-written",
        OWN,
        "can't write log",
        "see its permissions, or name another --run",
        "pipeline/training/run_log.py::JsonLines.__init__",
        prepare=each(
            lambda place: place.own_run(),
            lambda place: (place.tmp / "run" / "log.jsonl").unlink(),
            lambda place: (place.tmp / "run" / "log.jsonl").mkdir(),
        ),
    ),
    Mistake(
        "resumed-with-another-recipe",
        f"{OWN} --set train.lr=0.2",
        "was made by another recipe than this one",
        "or use another --run",
        "pipeline/training/checkpoint.py::load_checkpoint",
        prepare=lambda place: place.own_run(),
    ),
    Mistake(
        "checkpoint-damaged",
        OWN,
        "can't read checkpoint",
        "remove it to resume from the one before",
        "pipeline/training/checkpoint.py::read_state",
        prepare=lambda place: [
            path.write_bytes(b"junk") for path in (place.own_run() / "checkpoints").iterdir()
        ],
    ),
    Mistake(
        "metrics-damaged",
        OWN,
        "metrics.csv: 'utf-8' codec can't decode",
        "remove it, it is written anew from the checkpoint",
        "pipeline/training/run_folder.py::RunFolder.seconds_refresh",
        prepare=lambda place: (place.own_run() / "metrics.csv").write_bytes(b"\xff\x00"),
    ),
    Mistake(
        "checkpoint-of-another-version",
        OWN,
        "has version 99, this scae reads",
        "begin anew with another --run",
        "pipeline/training/checkpoint.py::read_state#2",
        prepare=_future_checkpoint,
    ),
    Mistake(
        "ranks-half-started",
        AGAIN,
        "can't join the other ranks",
        "start all of them by torchrun or scae train --ranks",
        "pipeline/training/ranks.py::joined_ranks",
        prepare=lambda place: place.patch.setenv("WORLD_SIZE", "2"),
    ),
    Mistake(
        "maps-of-another-cache",
        "train --run {tmp}/run --resume --from-run {tmp}/run --cache {tmp}/maps.zarr",
        "the checkpoint was trained with",
        "name the cache of this run with --cache, or begin anew with another --run",
        "pipeline/training/refreshes.py::Refreshes.resume",
        prepare=lambda place: _trained_with_maps(place),
    ),
    Mistake(
        "recipe-beside-from-run",
        f"{AGAIN} --recipe {{tmp}}/mine.toml",
        "--from-run takes the recipe of that run",
        "leave out --recipe",
        "cli/train.py::_recipe_of",
        code=2,
    ),
    Mistake(
        "from-no-run",
        f"{NEW} --from-run {{tmp}}",
        "has no recipe.toml",
        "--from-run",
        "cli/train.py::_recipe_of#2",
        code=2,
    ),
    Mistake(
        "meeting-point",
        f"{AGAIN} --nodes 2 --rendezvous somewhere",
        "can't meet at --rendezvous somewhere: it must be HOST:PORT",
        "name a machine of the run, as all of them know it, and a free port",
        "pipeline/training/launch.py::_check_meeting",
    ),
)


def _network(place: Place, returned: str, head: str, outputs: str = "num_classes") -> None:
    place.write(
        "mine.py",
        f"""
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, {outputs}, {head})

    def forward(self, images):
        out = self.conv(images).relu().mean((2, 3))
        return {returned}

def build(num_classes):
    return Net(num_classes)
""",
    )


def _another_size(place: Place) -> None:
    target = place.own_data() / "bee" / "5.jpg"
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(target)


def _trained_with_maps(place: Place) -> None:
    """Train with the maps of an own cache, then put a cache of other maps into its place."""
    place.own_cache()
    for words in (
        "train --from-run {run} --run {tmp}/run --cache {tmp}/maps.zarr --set augment.method=scae",
        f"{REFRESH} --data {{data}} --cache {{tmp}}/other.zarr --seed 1",
    ):
        answer = scae(words, place)
        assert answer.code == 0, answer.stderr
    shutil.rmtree(place.tmp / "maps.zarr")
    (place.tmp / "other.zarr").rename(place.tmp / "maps.zarr")
