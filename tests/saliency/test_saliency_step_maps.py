"""Maps out of a training step are the Grad-CAM maps of that very forward pass."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import NetworkError
from pipeline.saliency.grad_cam import grad_cam
from pipeline.saliency.networks import build_network
from pipeline.saliency.step_maps import StepMaps

NUM_CLASSES, SIZE = 7, 64
LABELS = torch.arange(5) % NUM_CLASSES


@pytest.fixture
def images() -> Tensor:
    return torch.randn(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def _network(name: str) -> nn.Module:
    if name != "two-layer head":
        return build_network(name, num_classes=NUM_CLASSES, seed=3).module
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=4), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
        nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 8), nn.Tanh(),
        nn.Linear(8, NUM_CLASSES),
    )  # fmt: skip


def _steps(network: nn.Module, *, any_head: bool = False, layer: str | None = None) -> StepMaps:
    return StepMaps(network, layer, size=SIZE, num_classes=NUM_CLASSES, any_head=any_head)


def _unit(maps: Tensor) -> Tensor:
    return maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-12)


@pytest.mark.parametrize(
    ("name", "any_head"),
    [
        ("resnet8", False),
        ("torchvision:resnet18", False),
        ("torchvision:densenet121", True),
        ("torchvision:mobilenet_v3_small", True),
        ("two-layer head", True),
    ],
)
def test_in_eval_mode_they_are_the_maps_of_grad_cam(
    name: str, images: Tensor, *, any_head: bool
) -> None:
    network = _network(name).eval()
    steps = _steps(network, any_head=any_head)
    assert steps.closed_form is not any_head
    with steps.listening():
        logits = network(images)
    maps = steps.take(logits, LABELS)
    expected = grad_cam(network, images, LABELS, steps.target_layer)
    assert maps.shape == (5, *steps.shape)
    torch.testing.assert_close(_unit(maps), _unit(expected), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "any_head"), [("resnet8", False), ("two-layer head", True)])
@pytest.mark.parametrize("bf16", [False, True])
def test_a_step_learns_the_same_whether_or_not_its_maps_are_taken(
    name: str, images: Tensor, *, any_head: bool, bf16: bool
) -> None:
    gradients = []
    for taken in (False, True):
        network = _network(name).train()
        steps = _steps(network, any_head=any_head)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16), steps.listening():
            logits = network(images)
        if taken:
            maps = steps.take(logits, LABELS)
            assert maps.dtype == torch.float32
            assert (maps >= 0).all()
            assert not maps.requires_grad
        loss = nn.functional.cross_entropy(logits.float(), LABELS)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients.append([parameter.grad for parameter in network.parameters()])
    for plain, with_maps in zip(*gradients, strict=True):
        assert torch.equal(plain, with_maps)


@pytest.mark.parametrize(("name", "any_head"), [("resnet8", False), ("two-layer head", True)])
def test_nothing_of_a_step_lives_on_after_it(name: str, images: Tensor, *, any_head: bool) -> None:
    network = _network(name).train()
    steps = _steps(network, any_head=any_head)
    kept: list[weakref.ref[Tensor]] = []
    layer = network.get_submodule(steps.target_layer or "")
    layer.register_forward_hook(lambda *found: kept.append(weakref.ref(found[2])))
    with steps.listening():
        logits = network(images)
    steps.take(logits, LABELS)
    logits.sum().backward()
    del logits
    gc.collect()
    assert [reference() for reference in kept] == [None]
    assert len(layer._forward_hooks) == 1


def test_trying_the_closed_form_moves_no_state(images: Tensor) -> None:
    network = _network("resnet8").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    _steps(network)
    assert torch.equal(torch.get_rng_state(), random)
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_head_without_closed_form_is_refused_with_the_cure() -> None:
    with pytest.raises(NetworkError, match=r"harvest\.any_head must be true for Sequential"):
        _steps(_network("two-layer head"))
    # An earlier layer of a plain network has none either: more follows than an average.
    with pytest.raises(NetworkError, match="not a global average of layer 'layer2'"):
        _steps(_network("resnet8"), layer="layer2")


def test_a_forward_pass_that_was_not_listened_to_is_named(images: Tensor) -> None:
    network = _network("resnet8")
    with pytest.raises(NetworkError, match="must run in each forward pass, got no call"):
        _steps(network).take(network(images), LABELS)
