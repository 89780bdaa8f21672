"""A network is given back exactly as it was found, also after an exception."""

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pipeline.errors import NetworkError
from pipeline.saliency.grad_cam import GradCam, grad_cam
from pipeline.saliency.hooks import unwrap
from pipeline.saliency.target_layer import find_target_layer

MakeBatch = Callable[..., tuple[Tensor, Tensor]]
MakeNetwork = Callable[..., nn.Module]


class Raising(nn.Module):
    """A head that fails after the target layer has run."""

    def forward(self, features: Tensor) -> Tensor:
        raise ZeroDivisionError("the head fails")


def hooks_of(network: nn.Module) -> list[tuple[int, int, int]]:
    return [
        (len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
        for module in network.modules()
    ]


@contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """Assert that modes, state, `.grad`, hooks, grad mode and random numbers stay the same."""

    def look() -> dict[str, Any]:
        return {
            "modes": [module.training for module in network.modules()],
            "hooks": hooks_of(network),
            "requires_grad": [parameter.requires_grad for parameter in network.parameters()],
            "grad_mode": torch.is_grad_enabled(),
            "random": torch.get_rng_state().tolist(),
        }

    before = look()
    state = copy.deepcopy(network.state_dict())
    grads = [None if p.grad is None else p.grad.clone() for p in network.parameters()]
    try:
        yield
    finally:
        assert look() == before
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, state[name]), name
        for parameter, grad in zip(network.parameters(), grads, strict=True):
            assert (parameter.grad is None) == (grad is None)
            if grad is not None and parameter.grad is not None:
                assert torch.equal(parameter.grad, grad)


@pytest.fixture
def used_network(make_network: MakeNetwork) -> nn.Module:
    """A network with mixed modes, some gradients and a frozen parameter."""
    network = make_network("resnet8").train()
    network.get_submodule("layer2").eval()
    network.get_submodule("layer3.0.bn1").eval()
    network.get_parameter("linear.weight").grad = torch.ones(10, 64)
    network.get_parameter("conv1.weight").requires_grad = False
    return network


@pytest.mark.parametrize("grad_enabled", [True, False], ids=["grad", "no-grad"])
def test_grad_cam_leaves_no_trace(
    grad_enabled: bool,  # noqa: FBT001  # a parametrized value
    used_network: nn.Module,
    make_batch: MakeBatch,
) -> None:
    with torch.set_grad_enabled(grad_enabled), unchanged(used_network):
        maps, logits = GradCam(used_network).maps_and_logits(*make_batch())
        assert not maps.requires_grad
        assert not logits.requires_grad


def test_grad_cam_leaves_no_trace_after_an_exception(
    used_network: nn.Module, make_batch: MakeBatch
) -> None:
    used_network.linear = Raising()
    with unchanged(used_network), pytest.raises(ZeroDivisionError, match="the head fails"):
        grad_cam(used_network, *make_batch(), "layer3")


def test_layer_search_leaves_no_trace(used_network: nn.Module) -> None:
    with unchanged(used_network):
        find_target_layer(used_network, 32)
    with unchanged(used_network), pytest.raises(NetworkError, match="target layer must be"):
        find_target_layer(used_network, 32, "layer9")


def test_refusal_leaves_no_trace(used_network: nn.Module, make_batch: MakeBatch) -> None:
    images, labels = make_batch()
    with unchanged(used_network), pytest.raises(NetworkError, match="labels must be in"):
        grad_cam(used_network, images, labels + 10)


def test_train_and_eval_networks_give_equal_maps(
    make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network("resnet8")
    expected = grad_cam(network, *make_batch())
    assert torch.equal(grad_cam(network.train(), *make_batch()), expected)


def test_images_of_a_training_step_get_no_gradient(
    used_network: nn.Module, make_batch: MakeBatch
) -> None:
    images, labels = make_batch()
    images.requires_grad_()
    assert not grad_cam(used_network, images, labels).requires_grad
    assert images.grad is None


def test_training_step_in_the_same_autocast_region_still_learns(
    make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network("resnet8")
    images, labels = make_batch()

    def gradient(*, with_maps: bool) -> Tensor:
        network.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            if with_maps:
                grad_cam(network, images, labels)
            loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        weight = network.get_parameter("layer1.0.conv1.weight")
        assert weight.grad is not None
        return weight.grad.clone()

    assert torch.equal(gradient(with_maps=True), gradient(with_maps=False))


def test_maps_can_be_had_inside_inference_mode(
    make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network("resnet8")
    expected = grad_cam(network, *make_batch())
    with torch.inference_mode():
        maps = grad_cam(network, *make_batch())
        assert torch.is_inference_mode_enabled()
    assert torch.equal(maps, expected)
    assert hooks_of(network) == hooks_of(copy.deepcopy(network))


def test_images_may_be_used_again_after_the_layer(make_batch: MakeBatch) -> None:
    class LateUse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 10, 3, padding=1)

        def forward(self, images: Tensor) -> Tensor:
            return (self.conv(images) * images[:, :1]).mean(dim=(2, 3))

    network = LateUse()
    expected = grad_cam(network, *make_batch(), "conv")
    with torch.inference_mode():
        maps = grad_cam(network, *make_batch(), "conv")
    assert torch.equal(maps, expected)


def test_network_made_in_inference_mode_is_refused(make_batch: MakeBatch) -> None:
    with torch.inference_mode():
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(10))
        network(make_batch()[0])
        with pytest.raises(NetworkError, match=r"made outside torch\.inference_mode.*'0\.weight'"):
            grad_cam(network, *make_batch())


def test_threads_on_one_network_equal_the_sequential_result(
    make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network("resnet8").train()
    batches = [make_batch(seed=seed) for seed in range(8)]
    expected = [grad_cam(network, *batch) for batch in batches]
    results: list[list[Tensor]] = [[], []]
    start = threading.Barrier(2)

    def work(mine: list[Tensor]) -> None:
        cam = GradCam(network)
        start.wait()
        mine.extend(cam.maps_and_logits(*batch)[0] for batch in batches)

    with unchanged(network):
        threads = [threading.Thread(target=work, args=(mine,)) for mine in results]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    for mine in results:
        assert len(mine) == len(expected)
        assert all(torch.equal(a, b) for a, b in zip(mine, expected, strict=True))


def test_plain_forward_of_another_thread_does_not_meet_the_hook(
    make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network("resnet8")
    images, labels = make_batch()
    expected = grad_cam(network, images, labels, "layer3")
    with torch.no_grad():
        logits = network(images)
    seen: list[Tensor] = []

    def run() -> None:
        with torch.no_grad():
            seen.append(network(images))

    def intrude(_module: nn.Module, _args: object) -> None:
        if threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=run)
            thread.start()
            thread.join(timeout=60)

    network.get_submodule("linear").register_forward_pre_hook(intrude)
    assert torch.equal(grad_cam(network, images, labels, "layer3"), expected)
    assert len(seen) == 1
    assert torch.equal(seen[0], logits)


@pytest.mark.parametrize("wrap", [nn.DataParallel, AveragedModel])
def test_wrapped_network_gives_the_maps_and_names_of_the_plain_one(
    wrap: Callable[[nn.Module], nn.Module], make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network("resnet8")
    expected = grad_cam(network, *make_batch())
    assert torch.equal(grad_cam(wrap(network), *make_batch()), expected)
    assert find_target_layer(wrap(network), 32).name == "layer3"


def test_network_under_ddp_gives_the_maps_of_the_plain_one(
    make_network: MakeNetwork, make_batch: MakeBatch, tmp_path: Path
) -> None:
    network = make_network("resnet8").train()
    expected = grad_cam(network, *make_batch())
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1
    )
    try:
        wrapped = nn.parallel.DistributedDataParallel(network)
        assert unwrap(wrapped) is network
        assert torch.equal(grad_cam(wrapped, *make_batch()), expected)
    finally:
        torch.distributed.destroy_process_group()


# torch's own compiler front end, on its way in.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_network_runs_uncompiled(make_network: MakeNetwork, make_batch: MakeBatch) -> None:
    network = make_network("resnet8")
    images, labels = make_batch()
    expected = grad_cam(network, images, labels)
    compiled: nn.Module = torch.compile(network, backend="eager")  # type: ignore[assignment]
    compiled(images)
    assert unwrap(nn.DataParallel(compiled)) is network
    assert torch.equal(grad_cam(compiled, images, labels), expected)
    network.compile(backend="eager")
    network(images)
    assert torch.equal(grad_cam(network, images, labels), expected)
