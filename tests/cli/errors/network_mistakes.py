"""Mistakes about networks: what builds them, their layers, what they return."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cli.errors.provoke import NEW_CACHE, Mistake

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.errors.provoke import Place

RANDOM = f"{NEW_CACHE} --weights random"
OWN = f"{RANDOM} --network {{tmp}}/mine.py:build"
CONV = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images):
        return self.head(self.conv(images).relu().mean((2, 3)))

def build(num_classes):
    return Net(num_classes)
"""


def _mine(old: str = "", new: str = "") -> Callable[[Place], object]:
    assert old in CONV
    return lambda place: place.write("mine.py", CONV.replace(old, new) if old else new or CONV)


NETWORK_MISTAKES = (
    Mistake(
        "network-misspelt",
        f"{RANDOM} --network resnet9",
        "network must be a CIFAR ResNet such as 'resnet32', 'torchvision:NAME'",
        "resnet8",
        "pipeline/saliency/network_sources.py::unknown_network",
    ),
    Mistake(
        "no-published-weights",
        f"{NEW_CACHE} --network resnet8 --weights default",
        "weights of 'resnet8' must be 'random' or a file, got 'default'",
        "'random' or a file",
        "pipeline/saliency/network_sources.py::cifar_network",
    ),
    Mistake(
        "network-file-not-there",
        OWN,
        "needs the file",
        "check the path",
        "pipeline/saliency/network_sources.py::_import_file",
    ),
    Mistake(
        "network-file-broken",
        OWN,
        "can't be loaded, got SyntaxError",
        "it must import without an error",
        "pipeline/saliency/network_sources.py::_import_file#3",
        prepare=_mine("def build(", "def build(("),
    ),
    Mistake(
        "network-function-misspelt",
        f"{RANDOM} --network {{tmp}}/mine.py:biuld",
        "network must name a callable in",
        "did you mean",
        "pipeline/saliency/network_sources.py::user_network",
        prepare=_mine(),
    ),
    Mistake(
        "network-function-returns-no-module",
        OWN,
        "must return a torch.nn.Module, got int",
        "torch.nn.Module",
        "pipeline/saliency/network_sources.py::user_network#2",
        prepare=_mine("return Net(num_classes)", "return 3"),
    ),
    Mistake(
        "network-module-not-installed",
        f"{RANDOM} --network no_such_module:build",
        "needs the module 'no_such_module', got",
        "is it installed in this environment?",
        "pipeline/saliency/network_sources.py::_import",
    ),
    Mistake(
        "network-option-clashes",
        f"{RANDOM} --network resnet8 --network-option num_classes=3",
        "options of 'resnet8' must not set num_classes",
        "leave them out, they follow from data, name and weights",
        "pipeline/saliency/network_sources.py::_call",
    ),
    Mistake(
        "network-option-unknown",
        f"{RANDOM} --network resnet8 --network-option widht=3",
        "can't be built with options {'widht': '3'}",
        "see what its constructor takes",
        "pipeline/saliency/network_sources.py::_call#2",
    ),
    Mistake(
        "default-weights-of-other-classes",
        f"{NEW_CACHE} --network torchvision:resnet18 --weights default",
        "default weights of 'torchvision:resnet18' must be for 3 classes, got 1000",
        "use random weights, or a file trained on this data set",
        "pipeline/saliency/network_sources.py::_check_classes",
    ),
    Mistake(
        "layer-misspelt",
        f"{RANDOM} --network resnet8 --target-layer layer9",
        "target layer must be a layer of CifarResNet, got 'layer9'",
        "layers (C, h, w):",
        "pipeline/saliency/target_layer.py::_check_name",
    ),
    Mistake(
        "layer-without-space",
        f"{RANDOM} --network resnet8 --target-layer linear",
        "target layer 'linear' must run once and give a spatial output (B, C, h, w)",
        "layers (C, h, w):",
        "pipeline/saliency/target_layer.py::_check_name#2",
    ),
    Mistake(
        "no-layer-with-space",
        OWN,
        "has no layer with a spatial output",
        "use another network or larger images",
        "pipeline/saliency/target_layer.py::_search",
        prepare=_mine(
            new="from torch import nn\n"
            "def build(num_classes):\n"
            "    return nn.Sequential(nn.Flatten(), nn.Linear(768, num_classes))\n"
        ),
    ),
    Mistake(
        "network-fails-on-images",
        OWN,
        "must take images of (3, 16, 16), got",
        "mend it, or give the images' size that it wants",
        "pipeline/saliency/target_layer.py::_trace",
        prepare=_mine("Conv2d(3, 8", "Conv2d(4, 8"),
    ),
    Mistake(
        "network-returns-no-logits",
        OWN,
        "must return logits",
        "wrap it in a module that returns them alone",
        "pipeline/saliency/tapped.py::TappedNetwork.forward",
        prepare=_mine(
            "return self.head(self.conv(images).relu().mean((2, 3)))",
            "return {'out': self.head(self.conv(images).relu().mean((2, 3)))}",
        ),
    ),
    Mistake(
        "layer-without-influence",
        OWN,
        "must have an influence on the logits",
        "name another layer, and look for no_grad or detach after it",
        "pipeline/saliency/grad_cam.py::GradCam._gradient",
        prepare=_mine("self.conv(images).relu()", "self.conv(images).relu().detach()"),
    ),
    Mistake(
        "fewer-logits-than-classes",
        OWN,
        "labels must be in [0, 2), the network's classes, got 2",
        "data set and network differ",
        "pipeline/saliency/batch_checks.py::check_logits#2",
        prepare=_mine("nn.Linear(8, num_classes)", "nn.Linear(8, 2)"),
    ),
)
