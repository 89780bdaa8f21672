"""Occlusion robustness: accuracy on test images that lose a part of their area.

The part is the most salient, a random or the least salient one, by Grad-CAM of the evaluated
network itself and the image's **true label**: the map then shows the evidence for the right answer,
whatever the network answers, and every network is asked the same question. Erased pixels become 0
after normalisation, the mean colour, as in training.

The random part has the grain of the others: the map's cells are shuffled before it is enlarged.
Single pixels strewn over the image would be another kind of damage. Where pixels are as salient as
each other (a map is 0 wherever nothing speaks for the class), chance decides, by a keyed stream.

Legend: B images, S side of the network's input, P = S * S pixels, h, w rows and columns of a map.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from loaders.image_data import ImageData
from loaders.randomness import KeyedStream
from pipeline.saliency.grad_cam import GradCam
from pipeline.saliency.networks import BuiltNetwork
from pipeline.training.metrics import read_normalised

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Erased parts of the area."""
ORDERS = ("salient", "random", "least")
"""What goes first."""


def occlusion_robustness(
    built: BuiltNetwork,
    data: ImageData,
    *,
    size: int,
    device: torch.device,
    bf16: bool,
    target_layer: str | None = None,
    seed: int = 0,
    batch_size: int = 128,
) -> dict[str, Any]:
    """Measure a network on images that lose ever more.

    Args:
        built: The network and how images are normalised for it; left as found.
        data: Test images.
        size: Side S of the network's input in pixels.
        device: Where to run.
        bf16: Whether the accuracy's forward passes run under bfloat16 autocast.
        target_layer: Layer to explain; None finds it.
        seed: Of everything random.
        batch_size: Images a forward pass.

    Returns:
        `shares`, and for each of `ORDERS` the top-1 accuracies at those shares.

    Raises:
        NetworkError: If the network can't be explained.
    """
    grad_cam = GradCam(built.module, target_layer)
    hits = {order: torch.zeros(len(SHARES), dtype=torch.float64) for order in ORDERS}
    modes = [(module, module.training) for module in built.module.modules()]
    built.module.eval()
    try:
        for start in range(0, len(data), batch_size):
            rows = range(start, min(start + batch_size, len(data)))
            images = read_normalised(data, rows, built, size, device)
            labels_B = torch.from_numpy(data.labels[rows.start : rows.stop].copy()).to(device)
            maps_Bhw, _ = grad_cam.maps_and_logits(images, labels_B)
            for order, ranks_BP in _ranks(maps_Bhw, rows, size, seed).items():
                hits[order] += _hits(built.module, images, labels_B, ranks_BP, bf16=bf16)
    finally:
        for module, training in modes:
            module.training = training
    accuracies = {order: (total / len(data)).tolist() for order, total in hits.items()}
    return {"shares": list(SHARES), **accuracies}


def occluded(images: Tensor, ranks_BP: Tensor, share: float) -> Tensor:
    """Return a copy of (B, C, S, S) images without the pixels that rank first, (B, P) ranks."""
    num_pixels = ranks_BP.shape[1]
    gone_BP = ranks_BP < round(share * num_pixels)
    return images.masked_fill(gone_BP.view(len(images), 1, *images.shape[2:]), 0.0)


def _ranks(maps_Bhw: Tensor, rows: range, size: int, seed: int) -> dict[str, Tensor]:
    """Return in what order pixels go, (B, P) int64 ranks from 0, for each order."""
    num, height, width = maps_Bhw.shape
    indices_B = np.arange(rows.start, rows.stop)
    device = maps_Bhw.device

    def uniforms(purpose: str, count: int) -> Tensor:
        stream = KeyedStream(seed, 0, indices_B, np.zeros(num, np.int64), purpose)
        return torch.from_numpy(stream.random((num, count))).to(device)

    shuffle_Bn = uniforms("occlusion-cells", height * width).argsort(1)
    shuffled_Bhw = maps_Bhw.flatten(1).gather(1, shuffle_Bn).view_as(maps_Bhw)
    ties_BP = uniforms("occlusion-ties", size * size)
    salient_BP = _descending(_enlarged(maps_Bhw, size), ties_BP)
    return {
        "salient": salient_BP,
        "random": _descending(_enlarged(shuffled_Bhw, size), ties_BP),
        "least": size * size - 1 - salient_BP,
    }


def _enlarged(maps_Bhw: Tensor, size: int) -> Tensor:
    enlarged = nn.functional.interpolate(
        maps_Bhw[:, None], (size, size), mode="bilinear", align_corners=False
    )
    return enlarged.flatten(1)


def _descending(saliency_BP: Tensor, ties_BP: Tensor) -> Tensor:
    """Return each pixel's rank, the most salient first, equal ones by `ties_BP`."""
    by_chance_BP = ties_BP.argsort(1)
    among_BP = saliency_BP.gather(1, by_chance_BP).argsort(dim=1, descending=True, stable=True)
    return by_chance_BP.gather(1, among_BP).argsort(1)


@torch.inference_mode()
def _hits(
    network: nn.Module, images: Tensor, labels_B: Tensor, ranks_BP: Tensor, *, bf16: bool
) -> Tensor:
    """Return how many images are still right at each share, (len(SHARES),) float64."""
    right = []
    for share in SHARES:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            logits_BK = network(occluded(images, ranks_BP, share))
        right.append(int((logits_BK.argmax(1) == labels_B).sum()))
    return torch.tensor(right, dtype=torch.float64)


def occlusion_lines(measured: Mapping[str, Any]) -> list[str]:
    """Return what was measured as lines for the log."""
    heads = "  ".join(f"{share:>5.0%}" for share in measured["shares"])
    lines = [f"occlusion  {'erased':<8}{heads}"]
    for order in ORDERS:
        values = "  ".join(f"{value:>5.1%}" for value in measured[order])
        lines.append(f"           {order:<8}{values}")
    return lines
