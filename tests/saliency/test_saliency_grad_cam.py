"""Grad-CAM against other libraries and closed forms: Eq. 2 and 3."""

from collections.abc import Callable

import pytest
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn
from torchcam.methods import GradCAM

from pipeline.saliency.grad_cam import GradCam, grad_cam

Batch = tuple[Tensor, Tensor]
MakeBatch = Callable[..., Batch]
MakeNetwork = Callable[..., nn.Module]


class TwoChannels(nn.Module):
    """Its one feature map per channel is the image's, its head is linear and known."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 2, 1, bias=False)
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(3)[:2, :, None, None])
            self.head.weight.copy_(torch.tensor([[1.0, -2.0], [-1.0, 0.5]]))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits


class Transformer(nn.Module):
    """Patches of 8x8 pixels, a class token, one block of attention, a head on the class token."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.norm1 = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), tokens], dim=1)
        normed = self.norm1(tokens)
        tokens = tokens + self.attention(normed, normed, normed, need_weights=False)[0]
        logits: Tensor = self.head(self.norm(tokens)[:, 0])
        return logits


class ChannelsLast(nn.Module):
    """Features as Swin networks keep them, (B, h, w, C)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 160, 8, 8)
        self.norm = nn.LayerNorm(160)
        self.head = nn.Linear(160, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.conv(images).permute(0, 2, 3, 1)).mean((1, 2)))
        return logits


def captum_maps(network: nn.Module, layer: str, images: Tensor, labels: Tensor) -> Tensor:
    oracle = LayerGradCam(network, network.get_submodule(layer))
    maps: Tensor = oracle.attribute(images, target=labels, relu_attributions=True)
    return maps[:, 0].detach()


def assert_close(maps: Tensor, expected: Tensor) -> None:
    assert maps.dtype == torch.float32
    assert expected.max() > 0
    torch.testing.assert_close(maps, expected, rtol=1e-6, atol=1e-6 * float(expected.max()))


def test_map_equals_the_one_computed_by_hand() -> None:
    images = torch.zeros(2, 3, 2, 2)
    images[:, 0] = torch.tensor([[4.0, 8.0], [0.0, 4.0]])
    images[:, 1] = torch.tensor([[0.0, 2.0], [4.0, 4.0]])
    maps = grad_cam(TwoChannels(), images, torch.tensor([0, 1]), "features")
    # Eq. 2: dS/dF is the head's weight over the four cells, everywhere.
    first = torch.tensor([[4.0 - 0, 8 - 4], [0, 0]]) / 4
    second = torch.tensor([[0.0, 0], [2, 0]]) / 4
    assert torch.equal(maps, torch.stack([first, second]))


@pytest.mark.filterwarnings("ignore:Setting backward hooks")  # captum hooks in-place activations
@pytest.mark.parametrize(
    ("name", "layer", "size"),
    [
        ("resnet8", "layer3", 32),
        ("resnet8", "layer2", 32),
        ("resnet20", "layer3", 32),
        ("torchvision:resnet18", "layer3", 64),
        ("torchvision:resnet18", "layer4", 64),
        ("torchvision:densenet121", "features", 64),
        ("torchvision:mobilenet_v3_small", "features", 64),
        ("torchvision:efficientnet_b0", "features", 64),
    ],
)
def test_maps_match_captum(
    name: str, layer: str, size: int, make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network(name, size=size)
    images, labels = make_batch(size)
    maps, logits = GradCam(network, layer).maps_and_logits(images, labels)
    with torch.no_grad():
        assert torch.equal(logits, network(images))
    assert_close(maps, captum_maps(network, layer, images, labels))


def test_maps_match_torchcam_up_to_its_normalisation(
    make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network("resnet20")
    images, labels = make_batch()
    maps = grad_cam(network, images, labels, "layer3")
    with GradCAM(network, "layer3") as oracle:
        (expected,) = oracle(labels.tolist(), network(images), normalized=False)
    assert_close(maps, expected.detach())


def test_map_is_the_class_weighted_channel_sum_before_pooling_and_linear(
    make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network("resnet8")
    images, labels = make_batch(num_images=8)
    features: list[Tensor] = []
    handle = network.get_submodule("layer3").register_forward_hook(
        lambda _module, _args, output: features.append(output)
    )
    with torch.no_grad():
        network(images)
    handle.remove()
    weights = network.get_parameter("linear.weight").detach()[labels]
    expected = torch.einsum("bk,bkhw->bhw", weights, features[0]).relu() / 64
    maps = grad_cam(network, images, labels)
    torch.testing.assert_close(maps, expected, rtol=1e-5, atol=1e-6 * float(expected.max()))


def test_each_map_depends_on_its_own_image_and_label_alone(
    make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network("resnet8")
    images, labels = make_batch(num_images=6)
    maps = grad_cam(network, images, labels)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert torch.equal(grad_cam(network, images[order], labels[order]), maps[order])
    other = (labels + 1) % 10
    other[2] = labels[2]
    assert torch.equal(grad_cam(network, images, other)[2], maps[2])
    assert not torch.equal(grad_cam(network, images, other), maps)


def test_transformer_tokens_become_a_square_grid(make_batch: MakeBatch) -> None:
    network = Transformer().eval()
    images, labels = make_batch()
    maps = grad_cam(network, images, labels, "norm1")
    kept: list[Tensor] = []
    network.norm1.register_forward_hook(lambda _module, _args, output: kept.append(output))
    score = network(images).gather(1, labels[:, None]).sum()
    (gradient,) = torch.autograd.grad(score, kept[0])
    alphas = gradient[:, 1:].mean(dim=1, keepdim=True)
    expected = (alphas * kept[0][:, 1:]).sum(dim=2).relu().view(4, 4, 4)
    torch.testing.assert_close(maps, expected.detach(), rtol=1e-5, atol=1e-7)


def test_channels_last_features_are_read_as_such(make_batch: MakeBatch) -> None:
    network = ChannelsLast().eval()
    images, labels = make_batch()
    cam = GradCam(network)
    maps, _ = cam.maps_and_logits(images, labels)
    with torch.no_grad():
        features = network.norm(network.conv(images).permute(0, 2, 3, 1))
        expected = (features * network.head.weight[labels][:, None, None]).sum(3).relu() / 16
    assert cam.target_layer == "norm"
    torch.testing.assert_close(maps, expected, rtol=1e-5, atol=1e-7)


def test_maps_are_float32_and_near_under_autocast(
    make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network("resnet8")
    images, labels = make_batch()
    exact = grad_cam(network, images, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps, logits = GradCam(network).maps_and_logits(images, labels)
    assert (maps.dtype, logits.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(maps, exact, rtol=0, atol=0.05 * float(exact.max()))


def test_memory_format_changes_no_more_than_rounding(
    make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network("resnet8")
    images, labels = make_batch()
    expected = grad_cam(network, images, labels)
    network = network.to(memory_format=torch.channels_last)
    maps = grad_cam(network, images.to(memory_format=torch.channels_last), labels)
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))


def test_reused_object_searches_its_layer_once(
    make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network("resnet8")
    calls = 0

    def count(_module: nn.Module, _args: object) -> None:
        nonlocal calls
        calls += 1

    network.register_forward_pre_hook(count)
    cam = GradCam(network)
    assert cam.target_layer is None
    first, _ = cam.maps_and_logits(*make_batch())
    second, _ = cam.maps_and_logits(*make_batch())
    assert cam.target_layer == "layer3"
    assert torch.equal(first, second)
    assert calls == 3
