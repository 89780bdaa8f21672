"""Build a network by its name, so that another process can build the very same one."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from pipeline.errors import NetworkError
from pipeline.saliency import network_sources
from pipeline.saliency.cifar_resnet import CIFAR_NETWORKS
from pipeline.saliency.network_sources import Blueprint, Request
from pipeline.saliency.weights import load_weights, weights_digest

__all__ = ["BuiltNetwork", "build_network", "network_names"]

WeightsKind = Literal["random", "default", "file"]

_BUILDING = threading.Lock()
"""The CPU generator is global: two networks built at once would share its numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltNetwork:
    """A network on the CPU with what a cache's provenance says about it."""

    module: nn.Module
    """Takes (B, 3, S, S) images and returns (B, K) logits."""
    name: str
    """The name it was built by."""
    num_classes: int
    """K as asked for."""
    native_size: int
    """S, side in pixels of the images that the network was made for."""
    mean: tuple[float, float, float]
    """Per colour, subtracted from images in [0, 1]."""
    std: tuple[float, float, float]
    """Per colour, dividing the centred images."""
    weights_kind: WeightsKind
    """Where the weights come from."""
    weights_digest: str
    """Hex SHA-256 of the parameters and buffers, see `weights.weights_digest`."""


def build_network(
    name: str,
    *,
    num_classes: int,
    weights: str | os.PathLike[str] = "random",
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> BuiltNetwork:
    """Build a network; equal arguments give equal weights, in any process.

    Args:
        name: `resnet32` and the other CIFAR networks, `torchvision:NAME`, `timm:NAME`,
            `package.module:callable` or `path/to/file.py:callable`. A callable gets
            `num_classes` and `pretrained` (whether weights are `default`) if it takes them;
            attributes `input_size`, `mean` and `std` of its network say how images are prepared
            (ImageNet's values if absent).
        num_classes: K, at least 1.
        weights: `random`, `default` (the library's pretrained ones; for a callable, whatever it
            returns) or a file (see `weights.read_weights`).
        seed: Of random weights, >= 0. The global generator is left as found.
        options: Further keyword arguments of the network's constructor.

    Returns:
        The network on the CPU and how to prepare images for it.

    Raises:
        NetworkError: If the name is unknown, an option is wrong, or the weights can't be had or
            don't fit.
    """
    if num_classes < 1 or not 0 <= seed < 2**63:
        raise NetworkError(
            f"num_classes must be >= 1 and seed in [0, 2**63), got {num_classes} and {seed}"
        )
    kind = _kind_of(weights)
    request = Request(
        name=name,
        num_classes=num_classes,
        pretrained=kind == "default",
        options=dict(options or {}),
    )
    with _seeded(seed):
        blueprint = _build(request)
    if kind == "file":
        load_weights(blueprint.module, Path(weights), num_classes=num_classes)
    return BuiltNetwork(
        module=blueprint.module,
        name=name,
        num_classes=num_classes,
        native_size=blueprint.native_size,
        mean=blueprint.mean,
        std=blueprint.std,
        weights_kind=kind,
        weights_digest=weights_digest(blueprint.module),
    )


def network_names() -> tuple[str, ...]:
    """Return the names of the built-in networks and of torchvision's."""
    from torchvision import models  # slow, and seldom needed

    others = (f"torchvision:{name}" for name in models.list_models(module=models))
    return (*CIFAR_NETWORKS, *others)


def _kind_of(weights: str | os.PathLike[str]) -> WeightsKind:
    if weights == "random":
        return "random"
    return "default" if weights == "default" else "file"


def _build(request: Request) -> Blueprint:
    if request.name in CIFAR_NETWORKS:
        return network_sources.cifar_network(request)
    family, colon, _ = request.name.partition(":")
    if family == "torchvision":
        return network_sources.torchvision_network(request)
    if family == "timm":
        return network_sources.timm_network(request)
    if colon:
        return network_sources.user_network(request)
    raise network_sources.unknown_network(request.name, network_names())


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with _BUILDING, torch.random.fork_rng(devices=[]):
        # Not `torch.manual_seed`, which also reseeds the generators of all GPUs.
        torch.default_generator.manual_seed(seed)
        yield
