"""Mistakes about settings that contradict each other, the network or the images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tests.cli.errors.provoke import NEW_RUN, NEXT_RUN, Mistake

if TYPE_CHECKING:
    from tests.cli.errors.provoke import Place


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


COMBINATION_MISTAKES = (
    Mistake(
        "reweighting-without-deferring",
        f"{NEW_RUN} --set loss.name=ldam --set loss.reweighting_epoch=3",
        "reweighting_epoch must come with deferred_reweighting = true",
        "deferred_reweighting = true",
        "pipeline/training/losses/options.py::LossRecipe.__post_init__",
    ),
    Mistake(
        "tau-chosen-twice",
        f"{NEW_RUN} --set second_stage.name=tau-norm --set second_stage.tau=1.0 "
        "--set second_stage.holdout=0.1",
        "tau and holdout both choose the exponent",
        "leave one of them out",
        "pipeline/training/second_stage_options.py::SecondStageRecipe.__post_init__",
    ),
    Mistake(
        "accumulated-weights",
        f"{NEW_RUN} --set loss.name=class-balanced --set loss.average=weights "
        "--set train.accumulate=2",
        "loss.average = 'weights' divides by the sum of a batch's weights",
        "change one of them",
        "pipeline/training/combinations.py::check_combinations",
    ),
    Mistake(
        "occlusion-without-tests",
        f"{NEW_RUN} --set evaluate.occlusion=true --set data.evaluate=false",
        "evaluate.occlusion = true needs test images",
        "change one of them",
        "pipeline/training/combinations.py::check_combinations#2",
    ),
    Mistake(
        "soft-labels-for-whole-ones",
        f"{NEW_RUN} --set loss.name=focal --set augment.method=mixup",
        "loss.name = 'focal' needs integer labels",
        "change one of them",
        "pipeline/training/combinations.py::_check_labels",
    ),
    Mistake(
        "reweighting-after-the-end",
        f"{NEW_RUN} --set loss.name=ldam --set loss.deferred_reweighting=true "
        "--set loss.reweighting_epoch=9 --set train.epochs=3",
        "loss.reweighting_epoch must be before the end of train.epochs = 3, got 9",
        "before the end of",
        "pipeline/training/combinations.py::_check_reweighting",
    ),
    Mistake(
        "too-few-checkpoints-for-a-watcher",
        f"{NEW_RUN} --set refresh.executor=external --set refresh.lag=3 "
        "--set train.keep_checkpoints=2",
        "train.keep_checkpoints must be above refresh.lag = 3",
        "got 2",
        "pipeline/training/combinations.py::_check_refresh",
    ),
    Mistake(
        "mixing-beside-smoothing",
        f"{NEW_RUN} --set second_stage.name=mislas --set second_stage.augment=true "
        "--set augment.method=mixup",
        "second_stage.augment = true must come without mixing",
        "switch one of them off",
        "pipeline/training/combinations.py::_check_second_stage",
    ),
    Mistake(
        "tau-norm-of-cosines",
        f"{NEW_RUN} --set loss.name=ldam --set network.options.normed_head=true "
        "--set second_stage.name=tau-norm",
        "second_stage.name = 'tau-norm' changes the norms of the head's weights",
        "use 'crt', or another loss",
        "pipeline/training/combinations.py::_check_second_stage#2",
    ),
    Mistake(
        "smoothing-of-equal-classes",
        f"{NEXT_RUN} --set second_stage.name=mislas",
        "second_stage.name = 'mislas' smooths labels by class size, and all classes have 6",
        "use long-tailed data (data.imbalance), or 'crt'",
        "pipeline/training/combinations.py::check_data",
    ),
    Mistake(
        "top5-of-three",
        f"{NEXT_RUN} --set evaluate.top5=yes",
        "evaluate.top5 = 'yes' must come with more than 5 classes, got 3",
        "more than 5 classes",
        "pipeline/training/combinations.py::check_data#2",
    ),
    Mistake(
        "ldam-without-cosines",
        f"{NEXT_RUN} --set loss.name=ldam",
        "loss.name = 'ldam' needs a network with a normalised head",
        "network.options.normed_head = true",
        "pipeline/training/head.py::_check_normalised",
    ),
    Mistake(
        "cosines-without-ldam",
        f"{NEXT_RUN} --set network.options.normed_head=true",
        "has a normalised head, whose cosines are too small",
        "or leave out network.options.normed_head",
        "pipeline/training/head.py::_check_normalised#2",
    ),
    Mistake(
        "focal-without-bias",
        f"{NEXT_RUN} --set loss.name=focal --network {{tmp}}/mine.py:build",
        "must have a head with a bias for focal losses, got none",
        "a head with a bias",
        "pipeline/training/head.py::_begin_rare",
        prepare=lambda place: _network(place, "self.head(out)", "bias=False"),
    ),
    Mistake(
        "second-stage-without-head",
        f"{NEXT_RUN} --set second_stage.name=crt --network {{tmp}}/mine.py:build",
        "must return what its last linear layer does",
        "for a second stage to train that layer alone",
        "pipeline/training/head.py::_check_last",
        prepare=lambda place: _network(place, "2 * self.head(out)", "bias=True"),
    ),
    Mistake(
        "second-stage-without-linear-layer",
        f"{NEXT_RUN} --set second_stage.name=crt --network {{tmp}}/mine.py:build",
        "must end in a linear layer of 3 classes for this loss or second stage, got",
        "a linear layer of 3 classes",
        "pipeline/training/head.py::head_of",
        prepare=lambda place: _network(place, "out[:, :3]", "bias=True", "5"),
    ),
    Mistake(
        "maps-from-nowhere",
        f"{NEXT_RUN} --set augment.method=keepaugment --set augment.length=8 "
        "--set augment.saliency=maps",
        "augment.method = 'keepaugment' takes its places from saliency maps, but there are none at",
        "name a cache with --cache, or set refresh.interval",
        "pipeline/training/refreshes.py::Refreshes._require_none_needed",
    ),
    Mistake(
        "no-test-images",
        f"{NEXT_RUN} --set data.evaluate=true",
        "has no folder for split 'test'",
        "or train without: --set data.evaluate=false",
        "loaders/folder_index.py::find_split#4 pipeline/training/setup.py::_test_data",
    ),
    Mistake(
        "masks-of-photographs",
        f"{NEXT_RUN} --set augment.method=scae --set augment.maps=mask",
        "needs data whose object masks are known",
        "use shapes",
        "loaders/methods/scae.py::Scae.check_data",
    ),
    Mistake(
        "hole-larger-than-the-image",
        f"{NEXT_RUN} --set augment.method=cutout --set augment.length=40",
        "length of cutout must be at most the image's 16 pixels, got 40",
        "at most the image's 16 pixels",
        "loaders/methods/cutout.py::Cutout.build",
    ),
    Mistake(
        "grid-larger-than-the-image",
        f"{NEXT_RUN} --set augment.method=grid_mask --set augment.period=[20,90]",
        "period of grid_mask must stay within the image's 16 pixels",
        "set period = [12, 17]",
        "loaders/methods/grid_mask.py::GridMask.build",
    ),
    Mistake(
        "kept-square-larger-than-the-image",
        f"{NEXT_RUN} --cache {{cache}} --set augment.method=keepaugment --set augment.length=40",
        "length of keepaugment must be below the image's 16 pixels, got 40",
        "below the image's 16 pixels",
        "loaders/methods/keep_augment.py::KeepAugmentOptions.build",
    ),
    Mistake(
        "images-of-several-sizes",
        f"{NEXT_RUN} --data {{tmp}}/data --set data.in_memory=yes",
        "must have one size to be held in memory",
        "resize them or read them from files",
        "loaders/folder_data.py::to_arrays.fill",
        prepare=_another_size,
    ),
)
