"""The layer before the pooling is found, and a wrong name is answered with the right ones."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import NetworkError
from pipeline.saliency.feature_grid import FeatureGrid
from pipeline.saliency.grad_cam import grad_cam
from pipeline.saliency.networks import build_network
from pipeline.saliency.target_layer import TargetLayer, find_target_layer


@pytest.mark.parametrize(
    ("network", "size", "expected"),
    [
        ("resnet8", 32, TargetLayer("layer3", 64, 8, 8)),
        ("resnet8x4", 32, TargetLayer("layer3", 256, 8, 8)),
        ("torchvision:resnet18", 224, TargetLayer("layer4", 512, 7, 7)),
        ("torchvision:densenet121", 64, TargetLayer("features", 1024, 2, 2)),
        ("torchvision:mobilenet_v3_small", 96, TargetLayer("features", 576, 3, 3)),
        ("torchvision:efficientnet_b0", 64, TargetLayer("features", 1280, 2, 2)),
        ("torchvision:squeezenet1_1", 64, TargetLayer("classifier.2", 10, 3, 3)),
        ("torchvision:convnext_tiny", 64, TargetLayer("features", 768, 2, 2)),
        ("torchvision:swin_t", 64, TargetLayer("permute", 768, 2, 2)),
    ],
)
def test_layer_that_enters_the_pooling_is_found(
    network: str, size: int, expected: TargetLayer
) -> None:
    module = build_network(network, num_classes=10).module
    assert find_target_layer(module, size) == expected


def test_images_need_not_be_square() -> None:
    module = build_network("resnet8", num_classes=10).module
    assert find_target_layer(module, (32, 64)) == TargetLayer("layer3", 64, 8, 16)


def test_adaptive_pooling_to_many_cells_is_not_the_target() -> None:
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(196, 10)
    )
    assert find_target_layer(layers, 12) == TargetLayer("0", 4, 10, 10)


def test_shared_activation_is_passed_over() -> None:
    act = nn.ReLU()
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), act, nn.Conv2d(4, 5, 3), act, nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    assert find_target_layer(network, 8) == TargetLayer("2", 5, 4, 4)


def test_named_layer_is_checked_and_measured() -> None:
    module = build_network("resnet8", num_classes=10).module
    assert find_target_layer(module, 32, "layer2.0.conv1") == TargetLayer(
        "layer2.0.conv1", 32, 16, 16
    )


def test_second_name_of_a_layer_gives_its_first() -> None:
    network = build_network("resnet8", num_classes=10).module
    network.last_stage = network.get_submodule("layer3")
    assert find_target_layer(network, 32, "last_stage").name == "layer3"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("layer33", r"got 'layer33' \(did you mean 'layer3'"),
        ("layer33", r"layers \(C, h, w\): .*layer2 \(32, 16, 16\), .*layer3 \(64, 8, 8\)$"),
        ("", r"must be a layer of CifarResNet, got ''"),
        ("linear", r"'linear' must run once.*\(B, C, h, w\), got output \(1, 10\) float32; layers"),
    ],
)
def test_wrong_name_is_answered_with_candidates(name: str, message: str) -> None:
    module = build_network("resnet8", num_classes=10).module
    with pytest.raises(NetworkError, match=message) as caught:
        find_target_layer(module, 32, name)
    assert "\n" not in str(caught.value)


def test_layer_that_runs_twice_is_refused_by_name() -> None:
    act = nn.ReLU()
    network = nn.Sequential(nn.Conv2d(3, 4, 3), act, act, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(NetworkError, match=r"'1' must run once.*got 2 calls"):
        find_target_layer(network, 8, "1")


def test_network_without_a_spatial_layer_is_refused() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    message = r"Sequential has no layer with a spatial.*got 0 \(1, 192\) float32, 1 \(1, 10\)"
    with pytest.raises(NetworkError, match=message):
        find_target_layer(network, 8)


def test_vision_transformer_is_seen_before_its_last_attention() -> None:
    module = build_network("torchvision:vit_b_32", num_classes=10).module
    name = "encoder.layers.encoder_layer_11.ln_1"
    assert find_target_layer(module, 224) == TargetLayer(name, 768, 7, 7)


def test_tokens_without_a_known_norm_want_a_named_layer() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.mix, self.head = (
                nn.Conv2d(3, 8, 4, 4),
                nn.Identity(),
                nn.Linear(8, 2),
            )

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.mix(self.patches(images).flatten(2).transpose(1, 2))
            logits: Tensor = self.head(tokens.mean(1))
            return logits

    with pytest.raises(NetworkError, match=r"ends in tokens.*--target-layer; .*mix \(8, 4, 4\)"):
        find_target_layer(Tokens(), 16)


class Registers(nn.Module):
    """Patch tokens of 4x6 patches behind a class token and four registers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.tokens = nn.Parameter(torch.randn(1, 5, 8))
        self.norm1 = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.tokens.expand(len(images), -1, -1), patches], dim=1)
        normed = self.norm1(tokens)
        tokens = tokens + self.attention(normed, normed, normed, need_weights=False)[0]
        logits: Tensor = self.head(tokens[:, 0])
        return logits


def test_grid_of_tokens_is_that_of_the_patches_they_are_made_from() -> None:
    assert find_target_layer(Registers(), (16, 24)) == TargetLayer("norm1", 8, 4, 6)


def test_grid_of_tokens_can_be_given() -> None:
    expected = TargetLayer("norm1", 8, 2, 12)
    assert find_target_layer(Registers(), (16, 24), "norm1", (2, 12)) == expected


@pytest.mark.parametrize("token_grid", [(6, 6), (2, 3)], ids=["too-many", "too-few"])
def test_grid_that_does_not_fit_the_tokens_is_refused(token_grid: tuple[int, int]) -> None:
    with pytest.raises(NetworkError, match=r"'norm1' must .*got output \(1, 29, 8\) float32"):
        find_target_layer(Registers(), (16, 24), "norm1", token_grid)


@pytest.mark.parametrize("given", [True, False], ids=["given", "found"])
def test_maps_of_tokens_leave_out_what_comes_before_the_patches(
    given: bool,  # noqa: FBT001  # a parametrized value
) -> None:
    network = Registers().eval()
    images = torch.randn(3, 3, 16, 24, generator=torch.Generator().manual_seed(3))
    labels = torch.tensor([1, 5, 9])
    layer, grid = ("norm1", (4, 6)) if given else (None, None)
    maps = grad_cam(network, images, labels, layer, token_grid=grid)
    kept: list[Tensor] = []
    network.norm1.register_forward_hook(lambda _module, _args, output: kept.append(output))
    score = network(images).gather(1, labels[:, None]).sum()
    (gradient,) = torch.autograd.grad(score, kept[0])
    expected = (gradient[:, 5:].mean(1, keepdim=True) * kept[0][:, 5:]).sum(2).relu()
    torch.testing.assert_close(maps, expected.detach().view(3, 4, 6), rtol=1e-5, atol=1e-8)


def test_images_the_network_cannot_take_are_refused() -> None:
    module = build_network("torchvision:vit_b_32", num_classes=10).module
    with pytest.raises(NetworkError, match=r"must take images of \(3, 64, 64\), got"):
        find_target_layer(module, 64)


@pytest.mark.parametrize(
    ("shape", "layout", "grid"),
    [
        pytest.param((2, 64, 8, 8), "BChw", (64, 8, 8), id="channels-first"),
        pytest.param((2, 8, 8, 8), "BChw", (8, 8, 8), id="ambiguous"),
        pytest.param((2, 7, 7, 768), "BhwC", (768, 7, 7), id="channels-last"),
        pytest.param((2, 64, 16, 8), "BChw", (64, 16, 8), id="stride-of-two-sides"),
        pytest.param((2, 49, 768), "BNC", (768, 7, 7), id="tokens"),
        pytest.param((2, 50, 768), "BNC", (768, 7, 7), id="class-token"),
    ],
)
def test_layouts_are_told_apart(
    shape: tuple[int, ...], layout: str, grid: tuple[int, int, int]
) -> None:
    output = torch.arange(2.0 * torch.Size(shape)[1:].numel()).reshape(shape)
    found = FeatureGrid.of(output, size=(224, 224))
    assert found is not None
    assert (found.layout, (found.channels, found.height, found.width)) == (layout, grid)
    assert found.channels_first(output).shape == (2, *grid)


def test_tokens_are_laid_out_row_by_row_after_the_class_token() -> None:
    output = torch.arange(10.0).reshape(2, 5, 1)
    found = FeatureGrid.of(output, size=(32, 32))
    assert found is not None
    assert torch.equal(found.channels_first(output)[1, 0], torch.tensor([[6.0, 7.0], [8.0, 9.0]]))


@pytest.mark.parametrize(
    "output",
    [
        pytest.param(torch.zeros(2, 64, 1, 1), id="pooled"),
        pytest.param(torch.zeros(2, 10), id="logits"),
        pytest.param(torch.zeros(2, 60, 8), id="tokens-in-no-square"),
        pytest.param(torch.zeros(2, 4, 8, 8).long(), id="integers"),
        pytest.param((torch.zeros(2, 4, 8, 8),), id="tuple"),
    ],
)
def test_outputs_without_a_grid_are_seen_as_such(output: Tensor | tuple[Tensor]) -> None:
    assert FeatureGrid.of(output, size=(32, 32)) is None


def test_network_of_half_precision_is_traced_in_it(
    make_network: Callable[..., nn.Module],
) -> None:
    network = make_network("resnet8").to(torch.bfloat16)
    assert find_target_layer(network, 32).name == "layer3"
