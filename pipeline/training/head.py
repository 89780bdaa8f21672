"""The network's last layer: does it fit the recipe, and how does it begin?"""

import math

import torch
from torch import nn

from pipeline.errors import NetworkError, RecipeError
from pipeline.saliency.cifar_resnet import NormedLinear
from pipeline.saliency.head import find_head
from pipeline.saliency.hooks import borrowed, removing
from pipeline.saliency.networks import BuiltNetwork
from pipeline.training.losses.options import FOCAL
from pipeline.training.recipe import Recipe


def head_of(built: BuiltNetwork) -> nn.Linear | NormedLinear:
    """Return the layer that makes the network's logits.

    Raises:
        NetworkError: If there is no such linear layer.
    """
    found = find_head(built.module, built.num_classes)
    if found is None or not isinstance(found[1], nn.Linear | NormedLinear):
        raise NetworkError(
            f"network {built.name!r} must end in a linear layer of {built.num_classes} classes for "
            f"this loss or second stage, got {'none' if found is None else found[0]}"
        )
    return found[1]


def prepare_head(recipe: Recipe, built: BuiltNetwork, size: int) -> None:
    """Refuse a head that the loss or the second stage can't use; set focal losses' first biases.

    Args:
        recipe: The recipe.
        built: The network; its head's bias is changed for focal losses and random weights.
        size: Side of the network's input in pixels.

    Raises:
        NetworkError: If the network has no linear head where one is needed.
        RecipeError: If the head is a normalised one and must not be, or the other way round.
    """
    _check_normalised(recipe, built)
    if recipe.second_stage.name != "none":
        _check_last(built, size)
    if recipe.loss.name in FOCAL and recipe.network.weights == "random":
        _begin_rare(built)


def _check_normalised(recipe: Recipe, built: BuiltNetwork) -> None:
    found = find_head(built.module, built.num_classes)
    normalised = found is not None and isinstance(found[1], NormedLinear)
    if recipe.loss.name == "ldam" and not normalised:
        raise RecipeError(
            "loss.name = 'ldam' needs a network with a normalised head, whose logits are cosines; "
            f"{recipe.network.name!r} has another one: a CIFAR network gets it by "
            "network.options.normed_head = true"
        )
    if recipe.loss.name != "ldam" and normalised:
        raise RecipeError(
            f"network {recipe.network.name!r} has a normalised head, whose cosines are too small "
            f"to be logits for loss.name = {recipe.loss.name!r}: use 'ldam', which scales them, or "
            "leave out network.options.normed_head"
        )


def _check_last(built: BuiltNetwork, size: int) -> None:
    """Refuse a network that does something else after its last linear layer."""
    seen: list[torch.Tensor] = []
    head = head_of(built)
    device = next(head.parameters()).device
    with borrowed(built.module, device_type=device.type):
        handle = head.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        with removing([handle]):
            logits = built.module(torch.zeros((1, 3, size, size), device=device))
    if len(seen) != 1 or not torch.equal(seen[0], logits):
        raise NetworkError(
            f"network {built.name!r} must return what its last linear layer does, for a second "
            "stage to train that layer alone; it does not"
        )


@torch.no_grad()
def _begin_rare(built: BuiltNetwork) -> None:
    """Let all classes begin with probability 1 / K, lest the many 'no' drown the first steps."""
    head = head_of(built)
    if not isinstance(head, nn.Linear) or head.bias is None:
        raise NetworkError(
            f"network {built.name!r} must have a head with a bias for focal losses, got none"
        )
    head.bias.fill_(-math.log(built.num_classes - 1))
