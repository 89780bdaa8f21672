"""A whole refresh from JPEG files against its two parts alone: decoding, and the forward pass.

Run: .venv/bin/python -P benchmarks/refresh_from_jpeg.py FOLDER  (class folders of JPEGs)
"""

import argparse
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch

from loaders.decode import read_resized
from loaders.image_data import ImageData
from pipeline.refresh.job import execute
from pipeline.refresh.plan import RefreshOptions, plan_refresh
from pipeline.refresh.sources import DataSource, NetworkSource
from pipeline.saliency.networks import BuiltNetwork

BATCH = 128


def decode_alone(data: ImageData, size: int) -> float:
    """Time decoding every image, as the refresh does."""
    begun = time.perf_counter()
    for start in range(0, len(data), BATCH):
        read_resized(data, range(start, min(start + BATCH, len(data))), size, 2)
    return time.perf_counter() - begun


@torch.inference_mode()
def forward_alone(built: BuiltNetwork, num: int, size: int) -> float:
    """Time the pure forward pass over as many images, all batches full."""
    network = built.module.eval().to(memory_format=torch.channels_last)
    images = torch.randn(BATCH, 3, size, size).contiguous(memory_format=torch.channels_last)
    begun = time.perf_counter()
    for _ in range(0, num, BATCH):
        network(images)
    return time.perf_counter() - begun


def main() -> None:
    """Print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--imbalance", type=float, default=100.0)
    parser.add_argument("--network", default="resnet32")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    source = DataSource(name=arguments.folder, imbalance=arguments.imbalance)
    data = source.open()
    network = NetworkSource(name=arguments.network, num_classes=data.num_classes)
    built = network.build()
    size = built.native_size
    forward_alone(built, BATCH, size)
    ratios, rows = [], []
    for _ in range(arguments.rounds):
        # Forward before and after the refresh: the machine's speed drifts within a round.
        before = forward_alone(built, len(data), size)
        decode = decode_alone(data, size)
        with tempfile.TemporaryDirectory() as folder:
            options = RefreshOptions(batch_size=BATCH)
            cache = Path(folder) / "maps.zarr"
            plan = plan_refresh(source, network, cache, options, opened=data, built=built)
            begun = time.perf_counter()
            execute(plan, opened=data, built=built)
            total = time.perf_counter() - begun
        forward = (before + forward_alone(built, len(data), size)) / 2
        rows.append((decode, forward, total))
        ratios.append(total / (decode + forward))
        print(f"decode {decode:.1f} s, forward {forward:.1f} s, refresh {total:.1f} s")
    middle = [statistics.median(values) for values in zip(*rows, strict=True)]
    print(
        f"{len(data)} JPEGs, {arguments.network} at {size}, batch {BATCH}, "
        f"{torch.get_num_threads()} threads; python {platform.python_version()}, "
        f"torch {version('torch')}"
    )
    print(
        f"medians: decode {middle[0]:.1f} s, forward {middle[1]:.1f} s, refresh {middle[2]:.1f} s"
    )
    print(f"refresh / (decode + forward): median {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
