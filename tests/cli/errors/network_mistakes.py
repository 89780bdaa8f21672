"""Mistakes about networks and weights, and about how maps are computed from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pipeline.refresh import dask_cluster
from pipeline.saliency.networks import build_network
from tests.cli.errors.provoke import Mistake, each, scae

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.errors.provoke import Place

NEW = "refresh --data {data} --cache {tmp}/new.zarr --size 16"
RANDOM = f"{NEW} --weights random"
FILE = f"{NEW} --network resnet8 --weights {{tmp}}/weights.pt"
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


def _weights(content: object) -> Callable[[Place], object]:
    return lambda place: torch.save(content, place.tmp / "weights.pt")


def _state(num_classes: int = 3, name: str = "resnet8") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = build_network(
        name, num_classes=num_classes
    ).module.state_dict()
    return state


def _nan(place: Place) -> None:
    torch.save(_state() | {"linear.bias": torch.full((3,), torch.nan)}, place.tmp / "weights.pt")


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
        f"{NEW} --network resnet8 --weights default",
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
        f"{NEW} --network torchvision:resnet18 --weights default",
        "default weights of 'torchvision:resnet18' must be for 3 classes, got 1000",
        "use random weights, or a file trained on this data set",
        "pipeline/saliency/network_sources.py::_check_classes",
    ),
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
    Mistake(
        "channels-without-scorecam",
        f"{RANDOM} --network resnet8 --channels 3",
        "channels must be 1 or more and go with method scorecam, got 3 with gradcam",
        "go with method scorecam",
        "pipeline/saliency/methods.py::MethodChoice.__post_init__#2",
    ),
    Mistake(
        "block-rows",
        f"{RANDOM} --network resnet8 --block-rows 300",
        "block_rows must be a multiple of chunk_rows 256, got 300",
        "a multiple of",
        "pipeline/refresh/plan.py::RefreshOptions.__post_init__#3",
    ),
    Mistake(
        "no-gpu",
        f"{RANDOM} --network resnet8 --device cuda",
        "device cuda is not available here",
        "use --device cpu, or auto",
        "pipeline/refresh/plan.py::resolve_device",
        prepare=lambda place: place.patch.setattr(torch.cuda, "is_available", lambda: False),
    ),
    Mistake(
        "parts-missing",
        f"{RANDOM} --network resnet8 --block-rows 6 --finalize --parts 3",
        "2 of 3 blocks are missing, parts 2/3, 3/3 (blocks 1-2)",
        "run them again, then --finalize",
        "pipeline/refresh/parts.py::finalize",
        prepare=lambda place: _part(place, "--block-rows 6"),
    ),
    Mistake(
        "parts-of-another-plan",
        f"{RANDOM} --network resnet8 --block-rows 18 --finalize",
        "no part of this plan has begun in cache",
        "give --finalize the options of the parts",
        "pipeline/refresh/parts.py::_begun_writer",
        prepare=lambda place: _part(place, "--block-rows 6"),
    ),
    Mistake(
        "worker-memory",
        f"{RANDOM} --network resnet8 --workers 1 --memory-limit lots",
        "memory_limit must be a size such as 4GiB, got 'lots'",
        "such as 4GiB",
        "pipeline/refresh/dask_cluster.py::_parse_bytes",
    ),
    Mistake(
        "scheduler-not-there",
        f"{RANDOM} --network resnet8 --scheduler tcp://127.0.0.1:1",
        "can't reach the Dask scheduler at tcp://127.0.0.1:1",
        "check the address, and that it runs, with 'scae doctor'",
        "pipeline/refresh/dask_cluster.py::_reach#2",
        prepare=each(
            lambda place: place.patch.setattr(dask_cluster, "CONNECT_SECONDS", 0.0),
            lambda place: place.patch.setattr(dask_cluster, "TRY_SECONDS", 0.1),
        ),
    ),
    Mistake(
        "scheduler-file-is-junk",
        f"{RANDOM} --network resnet8 --scheduler-file {{tmp}}/scheduler.json",
        "scheduler.json: the file is not one that a scheduler writes",
        "check the address, and that it runs, with 'scae doctor'",
        "pipeline/refresh/dask_cluster.py::_reach#2",
        prepare=each(
            lambda place: place.write("scheduler.json", "{}"),
            lambda place: place.patch.setattr(dask_cluster, "CONNECT_SECONDS", 0.0),
        ),
    ),
    Mistake(
        "image-larger-than-memory",
        "refresh --data {data} --cache {tmp}/new.zarr --network resnet8 --weights random "
        "--size 100000000",
        "out of memory",
        "use smaller batches or fewer workers",
        "",
    ),
    Mistake(
        "scheduler-beside-workers",
        f"{RANDOM} --network resnet8 --workers 2 --scheduler tcp://x:1",
        "only one of --workers and --scheduler can be given",
        "only one of",
        "cli/cluster_options.py::require_scheduler",
        code=2,
    ),
    Mistake(
        "tls-without-scheduler",
        f"{RANDOM} --network resnet8 --tls-cert {{tmp}}/cert.pem",
        "--tls-cert has no effect without --scheduler",
        "--scheduler",
        "cli/cluster_options.py::_require",
        code=2,
        prepare=lambda place: place.write("cert.pem", "x"),
    ),
    Mistake(
        "option-without-value",
        f"{RANDOM} --network resnet8 --network-option width",
        "--network-option: must be KEY=VALUE, got 'width'",
        "KEY=VALUE",
        "cli/commands.py::key_values",
        code=2,
    ),
    Mistake(
        "token-grid",
        f"{RANDOM} --network resnet8 --token-grid 7",
        "must be rows x columns such as 14x14, got '7'",
        "such as 14x14",
        "cli/method_options.py::_token_grid",
        code=2,
    ),
    Mistake(
        "part-word",
        f"{RANDOM} --network resnet8 --part third",
        "part must be K/N such as 3/20, got 'third'",
        "such as 3/20",
        "pipeline/refresh/part.py::Part.parse cli/refresh.py::_read_part",
        code=2,
    ),
    Mistake(
        "part-above-parts",
        f"{RANDOM} --network resnet8 --part 4/3",
        "part must be K/N with 1 <= K <= N, got 4/3",
        "1 <= K <= N",
        "pipeline/refresh/part.py::Part.__post_init__",
        code=2,
    ),
    Mistake(
        "part-beside-finalize",
        f"{RANDOM} --network resnet8 --part 1/3 --finalize",
        "only one of --part and --finalize can be given",
        "only one of",
        "cli/refresh.py::_check_usage",
        code=2,
    ),
    Mistake(
        "parts-without-finalize",
        f"{RANDOM} --network resnet8 --parts 3",
        "--parts has no effect without --finalize",
        "--finalize",
        "cli/refresh.py::_check_usage#2",
        code=2,
    ),
)


def _part(place: Place, words: str) -> None:
    answer = scae(f"{RANDOM} --network resnet8 --part 1/3 {words}", place)
    assert answer.code == 0, answer.stderr
