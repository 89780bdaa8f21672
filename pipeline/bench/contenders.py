"""The ways to make Grad-CAM maps that `scae bench refresh` times: ours, its limit, and rivals.

Each contender has a copy of the network of its own, since rivals leave hooks, gradients and modes
behind. Shape suffixes: B images, K classes, h and w feature map rows and columns, H and W image.
"""

import copy
import importlib
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import torch
from torch import Tensor, nn

from pipeline.errors import BenchError
from pipeline.saliency.grad_cam import GradCam

__all__ = ["RIVALS", "Contender", "Task", "as_refreshed", "forward_pass", "our_maps", "rivals"]

RIVALS = {"torchcam": "torchcam", "captum": "captum", "pytorch-grad-cam": "grad-cam"}
"""Rival -> the package that has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """The batch that all contenders explain."""

    network: nn.Module
    """In eval mode; contenders get copies."""
    layer: str
    """Dotted name of the target layer."""
    images: Tensor
    """(B, 3, H, W) float32."""
    labels: Tensor
    """(B,) int64."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """One way to explain the task's batch."""

    name: str
    """For the table."""
    run: Callable[[], Tensor]
    """Does the work and returns what it makes."""
    same: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    """Brings our maps and its own into one form to be compared; None: they are alike already."""
    is_rival: bool = False
    """Whether its maps have to be ours."""


def forward_pass(task: Task) -> Contender:
    """Return the limit: the forward pass alone, under `inference_mode`."""
    network = copy.deepcopy(task.network)
    run = partial(_forward, network, task.images, bf16=False)
    return Contender(name="forward pass alone, fp32", run=run)


def our_maps(task: Task) -> Contender:
    """Return our engine in the task's layout."""
    cam = GradCam(copy.deepcopy(task.network), task.layer)
    return Contender(
        name="scae, fp32", run=partial(_explain, cam, task.images, task.labels, bf16=False)
    )


def as_refreshed(task: Task, *, bf16: bool) -> list[Contender]:
    """Return the forward pass and our engine as `scae refresh` runs them, channels last."""
    network = copy.deepcopy(task.network).to(memory_format=torch.channels_last)
    images = task.images.contiguous(memory_format=torch.channels_last)
    cam = GradCam(network, task.layer)
    how = f"{'bf16' if bf16 else 'fp32'}, channels last"
    return [
        Contender(
            name=f"forward pass alone, {how}", run=partial(_forward, network, images, bf16=bf16)
        ),
        Contender(
            name=f"scae refresh, {how}",
            run=partial(_explain, cam, images, task.labels, bf16=bf16),
        ),
    ]


@torch.inference_mode()
def _forward(network: nn.Module, images: Tensor, *, bf16: bool) -> Tensor:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        logits: Tensor = network(images)
    return logits


def _explain(cam: GradCam, images: Tensor, labels: Tensor, *, bf16: bool) -> Tensor:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        return cam.maps_and_logits(images, labels)[0]


def rivals(task: Task, without: Iterable[str] = ()) -> list[Contender]:
    """Return the rivals but those named.

    Raises:
        BenchError: If one is not installed.
    """
    makers = {"torchcam": _torchcam, "captum": _captum, "pytorch-grad-cam": _pytorch_grad_cam}
    return [makers[name](task) for name in RIVALS if name not in set(without)]


def _torchcam(task: Task) -> Contender:
    network = copy.deepcopy(task.network)
    cam = _library("torchcam", "torchcam.methods").GradCAM(network, task.layer)
    labels = task.labels.tolist()

    def run() -> Tensor:
        maps: Tensor = cam(labels, network(task.images), normalized=False)[0]
        return maps.detach()

    return Contender(name="torchcam", run=run, is_rival=True)


def _captum(task: Task) -> Contender:
    network = copy.deepcopy(task.network)
    cam = _library("captum", "captum.attr").LayerGradCam(network, network.get_submodule(task.layer))

    def run() -> Tensor:
        with warnings.catch_warnings():
            # It says that it hooks layers, which is what it is asked for.
            warnings.filterwarnings("ignore", "Setting (forward, )?backward hooks", UserWarning)
            maps: Tensor = cam.attribute(task.images, target=task.labels, relu_attributions=True)
        return maps[:, 0].detach()

    return Contender(name="captum", run=run, is_rival=True)


def _pytorch_grad_cam(task: Task) -> Contender:
    library = _library("pytorch-grad-cam", "pytorch_grad_cam")
    scale = _library("pytorch-grad-cam", "pytorch_grad_cam.utils.image").scale_cam_image
    target = _library("pytorch-grad-cam", "pytorch_grad_cam.utils.model_targets")
    network = copy.deepcopy(task.network)
    cam = library.GradCAM(network, [network.get_submodule(task.layer)])
    targets = [target.ClassifierOutputTarget(label) for label in task.labels.tolist()]
    size_WH = (task.images.shape[3], task.images.shape[2])

    def run() -> Tensor:
        return torch.from_numpy(cam(task.images, targets))

    def same(ours_Bhw: Tensor, theirs_BHW: Tensor) -> tuple[Tensor, Tensor]:
        # It returns maps at the image's size, scaled before and after: do that to ours as well.
        ours_BHW = scale(scale(ours_Bhw.cpu().numpy(), size_WH)[:, None].mean(axis=1))
        return torch.from_numpy(ours_BHW), theirs_BHW

    return Contender(name="pytorch-grad-cam", run=run, same=same, is_rival=True)


def _library(rival: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BenchError(
            f"rival {rival} needs the package {RIVALS[rival]}, got {error}: pip install"
            f" 'scae[bench]', or leave it out with --without {rival}"
        ) from error
