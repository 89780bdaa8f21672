"""Score-CAM against other libraries, and against one masked image after another."""

from collections.abc import Callable

import pytest
import torch
from pytorch_grad_cam import ScoreCAM as OtherScoreCam
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional
from torchcam.methods import ScoreCAM

from pipeline.errors import NetworkError
from pipeline.saliency import score_cam as module
from pipeline.saliency.methods import MethodChoice
from pipeline.saliency.score_cam import ScoreCam, score_cam

MakeBatch = Callable[..., tuple[Tensor, Tensor]]
MakeNetwork = Callable[..., nn.Module]


def features_of(network: nn.Module, layer: str, images: Tensor) -> Tensor:
    kept: list[Tensor] = []
    handle = network.get_submodule(layer).register_forward_hook(
        lambda _module, _args, output: kept.append(output)
    )
    with torch.no_grad():
        network(images)
    handle.remove()
    return kept[0]


@torch.no_grad()
def one_by_one(
    network: nn.Module, layer: str, images: Tensor, labels: Tensor, channels: list[list[int]]
) -> Tensor:
    """The definition, with a loop over images and channels and one image in each forward pass."""
    maps = []
    features = features_of(network, layer, images)
    for image, label, planes, chosen in zip(images, labels, features, channels, strict=True):
        scores = []
        for channel in chosen:
            mask = functional.interpolate(
                planes[None, None, channel], image.shape[1:], mode="bilinear"
            )
            mask = mask[0, 0] - mask.min()
            mask = mask / mask.max() if mask.max() > 0 else mask
            scores.append(network(image[None] * mask)[0, label])
        weights = torch.stack(scores).softmax(0)
        maps.append((weights[:, None, None] * planes[chosen]).sum(0).relu())
    return torch.stack(maps)


def assert_close(maps: Tensor, expected: Tensor) -> None:
    assert maps.dtype == torch.float32
    assert expected.max() > 0
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))


@pytest.mark.parametrize("num_images", [1, 3])
def test_map_equals_the_definition(
    num_images: int, make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network("resnet8")
    images, labels = make_batch(num_images=num_images)
    maps, logits = ScoreCam(network, "layer3").maps_and_logits(images, labels)
    everything = [list(range(64))] * num_images
    assert_close(maps, one_by_one(network, "layer3", images, labels, everything))
    with torch.no_grad():
        assert torch.equal(logits, network(images))


def test_chunks_of_channels_give_the_same_map(
    make_network: MakeNetwork, make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make_network("resnet8")
    expected = score_cam(network, *make_batch(), "layer3")
    monkeypatch.setattr(module, "_MASKED_AT_ONCE", 20)  # five channels of four images, 64 % 5 = 4
    assert_close(score_cam(network, *make_batch(), "layer3"), expected)


def test_map_equals_torchcams_where_nothing_is_upsampled(
    make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network("resnet8")
    images, labels = make_batch()
    with ScoreCAM(network, "layer1", input_shape=(3, 32, 32)) as oracle, torch.no_grad():
        network(images)
        (expected,) = oracle(labels.tolist(), normalized=False)
    assert_close(score_cam(network, images, labels, "layer1"), expected)


def test_map_equals_pytorch_grad_cams_where_nothing_is_upsampled(
    make_network: MakeNetwork, make_batch: MakeBatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = make_network("resnet8")
    images, labels = make_batch()
    with OtherScoreCam(network, [network.get_submodule("layer1")]) as oracle:
        targets = [ClassifierOutputTarget(label) for label in labels.tolist()]
        expected = torch.from_numpy(oracle(images, targets))
    capsys.readouterr()  # its progress bars
    maps = score_cam(network, images, labels, "layer1")
    assert_close(torch.from_numpy(scale_cam_image(scale_cam_image(maps.numpy()))), expected)


def test_bounded_channels_are_those_of_largest_variance(
    make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network("resnet8")
    images, labels = make_batch()
    variances = features_of(network, "layer3", images).double().flatten(2).var(dim=2)
    chosen = [sorted(row.argsort(descending=True)[:6].tolist()) for row in variances]
    maps = score_cam(network, images, labels, "layer3", channels=6)
    assert_close(maps, one_by_one(network, "layer3", images, labels, chosen))
    assert torch.equal(
        score_cam(network, images, labels, "layer3", channels=999),
        score_cam(network, images, labels, "layer3"),
    )


def test_flat_channel_masks_everything_and_gives_no_nan(
    make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network("resnet8")
    images, labels = make_batch()
    with torch.no_grad():  # the last BatchNorm before the layer's output: channel 5 is constant
        network.get_parameter("layer3.0.bn2.weight")[5] = 0
        network.get_parameter("layer3.0.bn2.bias")[5] = -1e3
    assert not features_of(network, "layer3", images)[:, 5].any()
    everything = [list(range(64))] * len(images)
    maps = score_cam(network, images, labels, "layer3")
    assert_close(maps, one_by_one(network, "layer3", images, labels, everything))


def test_map_equals_the_definition_for_images_laid_out_channels_last(
    make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network("resnet8")
    images, labels = make_batch()
    expected = score_cam(network, images, labels, "layer3", channels=8)
    network = network.to(memory_format=torch.channels_last)
    seen: list[bool] = []
    network.register_forward_pre_hook(
        lambda _module, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    images = images.to(memory_format=torch.channels_last)
    assert_close(score_cam(network, images, labels, "layer3", channels=8), expected)
    assert all(seen)


def test_long_call_can_be_ended_between_forward_passes(
    make_network: MakeNetwork, make_batch: MakeBatch
) -> None:
    network = make_network("resnet8").train()
    calls = 0

    def between() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ScoreCam(network, "layer3", between=between).maps_and_logits(*make_batch())
    assert network.training
    assert not any(child._forward_hooks for child in network.modules())


def test_masked_image_with_infinite_logits_is_refused(make_batch: MakeBatch) -> None:
    class Dark(nn.Module):
        """Breaks on images that are darker than the plain ones, as masked ones are."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 10, 3)

        def forward(self, images: Tensor) -> Tensor:
            dark = (images == 0).any()
            logits = self.conv(images).mean((2, 3))
            return logits / 0 if dark else logits

    with pytest.raises(NetworkError, match="logits must be finite"):
        score_cam(Dark(), *make_batch(), "conv")


@pytest.mark.parametrize("record", ["gradcam", "scorecam", "scorecam:64"])
def test_method_is_read_back_from_its_record(record: str) -> None:
    assert MethodChoice.of_record(record).record == record


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("lime", "method must be one of gradcam, scorecam, got 'lime'"),
        ("gradcam:3", "channels must be 1 or more and go with method scorecam, got 3 with gradc"),
        ("scorecam:0", "channels must be 1 or more"),
        ("scorecam:few", "method must be like 'scorecam:64', got 'scorecam:few'"),
    ],
)
def test_unknown_method_is_refused(record: str, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        MethodChoice.of_record(record)


def test_channels_below_one_are_refused(make_network: MakeNetwork) -> None:
    with pytest.raises(NetworkError, match="channels must be 1 or more, or None for all, got 0"):
        ScoreCam(make_network("resnet8"), channels=0)
