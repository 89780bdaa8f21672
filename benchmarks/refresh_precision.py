"""How far maps in bfloat16 lie from those in float32, as distributions of erasing centres (Eq. 4).

Run: .venv/bin/python -P benchmarks/refresh_precision.py FOLDER  (class folders of photographs)
"""

import argparse
import platform
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from loaders.decode import read_resized
from loaders.image_data import ImageData
from pipeline.refresh.sources import DataSource, NetworkSource
from pipeline.saliency.grad_cam import GradCam
from pipeline.saliency.networks import BuiltNetwork
from pipeline.saliency.precision import choose_precision
from pipeline.saliency.quantise import quantise


def maps_of(data: ImageData, built: BuiltNetwork, batch: int, *, bf16: bool) -> NDArray[np.uint8]:
    """Return the stored maps of all images, (N, h, w)."""
    network = built.module.to(memory_format=torch.channels_last)
    cam = GradCam(network)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) * 255 for values in (built.mean, built.std))
    found = []
    for start in range(0, len(data), batch):
        rows = range(start, min(start + batch, len(data)))
        images = (read_resized(data, rows, built.native_size, 2).float() - mean) / std
        images = images.contiguous(memory_format=torch.channels_last)
        labels = torch.from_numpy(data.labels[rows.start : rows.stop].copy())
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            maps, _ = cam.maps_and_logits(images, labels)
        found.append(quantise(maps.numpy()))
    return np.concatenate(found)


def centre_distributions(maps: NDArray[np.uint8], size: int, lam: float) -> torch.Tensor:
    """Return Eq. 4 over all pixels, (N, size * size) float64: upsample, scale, softmax."""
    stored = torch.from_numpy(maps).double()[:, None] / 255
    dense = functional.interpolate(stored, (size, size), mode="bilinear", align_corners=False)
    dense = dense.flatten(1)
    low, high = dense.amin(1, keepdim=True), dense.amax(1, keepdim=True)
    scaled = torch.where(high > low, (dense - low) / (high - low).clamp_min(1e-300), 0.0)
    return (lam * scaled).softmax(1)


def main() -> None:
    """Print the mean and the largest total variation distance."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--network", default="examples/efficientnet_lite0.py:build")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--classes", type=int, help="K of the network, if the folder has fewer")
    parser.add_argument("--lambda-max", type=float, default=2.0)
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()
    data = DataSource(name=arguments.folder, num_classes=arguments.classes).open()
    built = NetworkSource(
        name=arguments.network,
        num_classes=arguments.classes or data.num_classes,
        weights=arguments.weights,
    ).build()
    maps = [maps_of(data, built, arguments.batch, bf16=bf16) for bf16 in (False, True)]
    first, second = (
        centre_distributions(one, built.native_size, arguments.lambda_max) for one in maps
    )
    distances = 0.5 * (first - second).abs().sum(1)
    levels = np.abs(maps[0].astype(int) - maps[1].astype(int))
    print(
        f"{len(data)} images, {arguments.network} at {built.native_size}, lambda = "
        f"{arguments.lambda_max}; {choose_precision('auto', 'cpu').reason}; python "
        f"{platform.python_version()}, torch {version('torch')}"
    )
    print(
        f"total variation distance of Eq. 4, bf16 against fp32: mean {distances.mean():.3%}, "
        f"median {distances.median():.3%}, largest {distances.max():.3%}"
    )
    print(f"stored levels differ by {levels.mean():.2f} on average, {levels.max()} at most")


if __name__ == "__main__":
    main()
