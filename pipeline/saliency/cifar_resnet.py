"""The ResNets for 32x32 images of He et al. (2016, section 4.2), and the wide ones of CRD.

Layer names and initialisation are those of akamaster/pytorch_resnet_cifar10 and LDAM-DRW, whose
checkpoints load; `resnet8x4` and `resnet32x4` have the shapes of RepDistiller's (Tian et al. 2020).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import NetworkError

__all__ = ["CIFAR_NETWORKS", "CifarResNet", "NormedLinear"]

_NARROW = (16, 16, 32, 64)
_WIDE = (32, 64, 128, 256)

CIFAR_NETWORKS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        **{f"resnet{depth}": {"depth": depth} for depth in (8, 14, 20, 26, 32, 44, 56, 110)},
        **{
            f"resnet{depth}x4": {"depth": depth, "widths": _WIDE, "shortcut": "projection"}
            for depth in (8, 32)
        },
    }
)
"""Arguments of `CifarResNet` by network name."""


class CifarResNet(nn.Module):
    """A ResNet of three stages at 32x32, 16x16 and 8x8 (for 32x32 images).

    Args:
        depth: Number of weighted layers, 6 n + 2.
        num_classes: K, at least 1.
        widths: Channels of the stem and of the three stages.
        shortcut: `pad` subsamples and adds empty channels (option A, no parameters);
            `projection` is a 1x1 convolution with BatchNorm (option B).
        normed_head: Cosine classifier, which the LDAM loss wants, instead of a linear one.

    Raises:
        NetworkError: If `depth` is not 6 n + 2.
    """

    def __init__(
        self,
        *,
        depth: int,
        num_classes: int,
        widths: tuple[int, int, int, int] = _NARROW,
        shortcut: Literal["pad", "projection"] = "pad",
        normed_head: bool = False,
    ) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if blocks < 1 or rest:
            raise NetworkError(f"depth must be 6 n + 2 with n >= 1, got {depth}")
        stem, *stages = widths
        self.conv1 = _conv3x3(3, stem)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _stage(stem, stages[0], blocks, 1, shortcut)
        self.layer2 = _stage(stages[0], stages[1], blocks, 2, shortcut)
        self.layer3 = _stage(stages[1], stages[2], blocks, 2, shortcut)
        head = NormedLinear if normed_head else nn.Linear
        self.linear = head(stages[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Return the (B, K) logits of (B, 3, H, W) images."""
        features = functional.relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        logits: Tensor = self.linear(features.mean(dim=(2, 3)))
        return logits


class NormedLinear(nn.Module):
    """Cosine similarity of the features with each class's weights, in [-1, 1] (LDAM).

    Args:
        in_features: C, width of the features.
        out_features: K, number of classes.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw each class's weights anew: a random direction of length 1."""
        self.weight.uniform_(-1, 1)
        self.weight.copy_(functional.normalize(self.weight, dim=1))

    def forward(self, features: Tensor) -> Tensor:
        """Return the (B, K) cosines of (B, C) features."""
        return functional.linear(
            functional.normalize(features, dim=1), functional.normalize(self.weight, dim=1)
        )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        stride: Of the first convolution and the shortcut.
        shortcut: As for `CifarResNet`; the identity where shapes agree.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels or stride != 1:
            if shortcut == "projection":
                self.shortcut = nn.Sequential(
                    nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                    nn.BatchNorm2d(out_channels),
                )
            else:
                self.shortcut = PadShortcut(out_channels - in_channels, stride)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, out_channels, h / stride, w / stride) features."""
        inner = functional.relu(self.bn1(self.conv1(features)))
        return functional.relu(self.bn2(self.conv2(inner)) + self.shortcut(features))


class PadShortcut(nn.Module):
    """Option A: take every `stride`-th pixel and add empty channels on both sides.

    Args:
        added: Number of channels to add.
        stride: Step in both directions.
    """

    def __init__(self, added: int, stride: int) -> None:
        super().__init__()
        self.added = added
        self.stride = stride

    def forward(self, features: Tensor) -> Tensor:
        """Return the subsampled, padded features."""
        before = self.added // 2
        kept = features[:, :, :: self.stride, :: self.stride]
        return functional.pad(kept, (0, 0, 0, 0, before, self.added - before))


def _stage(
    in_channels: int, out_channels: int, blocks: int, stride: int, shortcut: str
) -> nn.Sequential:
    first = BasicBlock(in_channels, out_channels, stride, shortcut)
    rest = [BasicBlock(out_channels, out_channels, 1, shortcut) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


def _conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
