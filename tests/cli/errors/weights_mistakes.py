"""Mistakes about files of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pipeline.saliency.networks import build_network
from tests.cli.errors.provoke import NEW_CACHE, Mistake, each

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.errors.provoke import Place

FILE = f"{NEW_CACHE} --network resnet8 --weights {{tmp}}/weights.pt"


def _weights(content: object) -> Callable[[Place], object]:
    return lambda place: torch.save(content, place.tmp / "weights.pt")


def _state(num_classes: int = 3, name: str = "resnet8") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = build_network(
        name, num_classes=num_classes
    ).module.state_dict()
    return state


def _nan(place: Place) -> None:
    torch.save(_state() | {"linear.bias": torch.full((3,), torch.nan)}, place.tmp / "weights.pt")


WEIGHTS_MISTAKES = (
    Mistake(
        "weights-not-there",
        FILE,
        "weights must be 'random', 'default' or a file",
        "weights.pt",
        "pipeline/saliency/weights.py::_load",
    ),
    Mistake(
        "weights-with-code",
        FILE,
        "must hold tensors alone, got damaged content or other objects, which could run code",
        "write it with torch.save(network.state_dict(), ...)",
        "pipeline/saliency/weights.py::_load#2",
        prepare=lambda place: torch.save(
            build_network("resnet8", num_classes=3).module, place.tmp / "weights.pt"
        ),
    ),
    Mistake(
        "weights-cut-off",
        FILE,
        "can't be read, got",
        "is it complete, and made by torch.save?",
        "pipeline/saliency/weights.py::_load#3",
        prepare=each(
            lambda place: torch.save(_state(), place.tmp / "whole.pt"),
            lambda place: place.write("weights.pt", (place.tmp / "whole.pt").read_bytes()[:2000]),
        ),
    ),
    Mistake(
        "weights-no-state",
        FILE,
        "must hold a state dict, got list",
        "write it with torch.save(network.state_dict(), ...)",
        "pipeline/saliency/weights.py::read_weights",
        prepare=_weights([torch.zeros(3)]),
    ),
    Mistake(
        "weights-under-an-unknown-name",
        FILE,
        "must hold a state dict, bare or under",
        "bare or under 'model', 'state_dict', 'network', got epoch",
        "pipeline/saliency/weights.py::read_weights#2",
        prepare=_weights({"epoch": 3}),
    ),
    Mistake(
        "weights-of-another-network",
        FILE,
        "must have the network's parameters, got",
        "is it of another network?",
        "pipeline/saliency/weights.py::_check_names",
        prepare=_weights({"conv.weight": torch.zeros(8, 3, 3, 3)}),
    ),
    Mistake(
        "weights-of-other-classes",
        FILE,
        "must be for 3 classes, got 7",
        "use weights trained on this data set, or the data set they were trained on",
        "pipeline/saliency/weights.py::_check_shapes",
        prepare=lambda place: torch.save(_state(7), place.tmp / "weights.pt"),
    ),
    Mistake(
        "weights-of-other-shapes",
        FILE,
        "must have the network's shapes, got",
        "is it of another network?",
        "pipeline/saliency/weights.py::_check_shapes#2",
        prepare=lambda place: torch.save(
            _state() | {"conv1.weight": torch.zeros(4, 3, 3, 3)}, place.tmp / "weights.pt"
        ),
    ),
    Mistake(
        "weights-diverged",
        FILE,
        "logits must be finite, got NaN or infinity",
        "look for diverged weights, broken images or float16 overflow",
        "pipeline/saliency/batch_checks.py::check_logits#3 "
        "pipeline/refresh/runner.py::BlockRunner._explain",
        prepare=_nan,
    ),
)
