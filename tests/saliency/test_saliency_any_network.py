"""Grad-CAM of the families of networks that people train, as they train them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from pipeline.saliency.grad_cam import GradCam
from pipeline.saliency.networks import build_network

MakeBatch = Callable[..., tuple[Tensor, Tensor]]


@contextmanager
def modes_kept(network: nn.Module) -> Iterator[None]:
    modes = [module.training for module in network.modules()]
    yield
    assert [module.training for module in network.modules()] == modes


@pytest.mark.filterwarnings("ignore:Setting backward hooks")  # captum hooks in-place activations
@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet")
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("torchvision:googlenet", "inception5b"),  # gives a tuple with two more heads in training
        ("torchvision:convnext_tiny", "features"),
        ("torchvision:shufflenet_v2_x0_5", "conv5"),
        ("torchvision:regnet_y_400mf", "trunk_output"),
    ],
)
def test_network_in_training_has_the_maps_that_captum_finds_in_evaluation(
    name: str, layer: str, make_batch: MakeBatch
) -> None:
    network = build_network(name, num_classes=10).module.train()
    images, labels = make_batch(64, num_images=2)
    cam = GradCam(network)
    with modes_kept(network):
        maps, _ = cam.maps_and_logits(images, labels)
    assert cam.target_layer == layer
    network.eval()
    oracle = LayerGradCam(network, network.get_submodule(layer))
    expected = oracle.attribute(images, target=labels, relu_attributions=True)[:, 0].detach()
    assert expected.max() > 0
    torch.testing.assert_close(maps, expected, rtol=1e-5, atol=1e-6 * float(expected.max()))


@pytest.mark.parametrize(
    ("name", "options", "layer", "prefix"),
    [
        pytest.param("timm:vit_tiny_patch16_224", {}, "blocks.11.norm1", 1, id="class-token"),
        pytest.param(
            "timm:deit_tiny_distilled_patch16_224", {}, "blocks.11.norm1", 2, id="two-tokens"
        ),
        pytest.param(
            "timm:vit_tiny_patch16_224",
            {"global_pool": "avg", "class_token": False},
            "blocks.11.norm1",
            0,
            id="pooled-patches",
        ),
        pytest.param(
            "timm:swin_tiny_patch4_window7_224", {"window_size": 2}, "norm", None, id="swin"
        ),
    ],
)
def test_transformers_have_the_maps_of_a_library_that_is_told_the_grid(
    name: str,
    options: dict[str, object],
    layer: str,
    prefix: int | None,
    make_batch: MakeBatch,
) -> None:
    network = build_network(name, num_classes=10, options={"img_size": 64, **options}).module
    network.eval()
    images, labels = make_batch(64, num_images=2)
    cam = GradCam(network)
    maps, _ = cam.maps_and_logits(images, labels)
    assert cam.target_layer == layer

    def reshaped(output: Tensor) -> Tensor:
        if prefix is not None:
            output = output[:, prefix:].reshape(len(output), *maps.shape[1:], -1)
        return output.permute(0, 3, 1, 2)

    targets = [ClassifierOutputTarget(label) for label in labels.tolist()]
    with GradCAM(network, [network.get_submodule(layer)], reshaped) as oracle:
        expected = torch.from_numpy(oracle(images, targets))
    scaled = scale_cam_image(scale_cam_image(maps.numpy(), (64, 64)))
    assert expected.max() > 0.5
    torch.testing.assert_close(torch.from_numpy(scaled), expected, rtol=0, atol=1e-4)
