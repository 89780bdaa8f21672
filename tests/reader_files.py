"""What a reader of the pages has: a clone, photographs, CIFAR-10, a network and its weights."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).parent.parent
CLONED = ("constraints.txt", "docs", "examples", "Makefile", "pyproject.toml", "recipes", "scripts")
NETWORK = '''
"""A network of the reader's own: small, and of 32x32 images."""
from torch import nn

def build(num_classes: int = 3) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )
'''


def write_files(folder: Path, home: Path) -> None:
    """Write `~/photos` and `~/cifar10`; in the folder, what a clone has, and `my_network.py`."""
    for name in CLONED:
        (folder / name).symlink_to(ROOT / name)
    classes = [f"class{label}" for label in range(10)]
    for split, num in (("train", 100), ("test", 4)):
        _write_images(home / "photos" / split, ["cat", "dog", "emu"], num // 4, (40, 48))
        _write_images(home / "cifar10" / split, classes, num, (32,))  # rho = 100 needs as many
    (folder / "my_network.py").write_text(NETWORK)
    network = runpy.run_path(str(folder / "my_network.py"))["build"]()
    torch.save(network.state_dict(), folder / "weights.pt")


def _write_images(place: Path, classes: list[str], num: int, sides: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    for label in classes:
        (place / label).mkdir(parents=True)
        for index in range(num):
            pixels = rng.integers(0, 256, (sides[index % len(sides)], sides[0], 3), np.uint8)
            Image.fromarray(pixels).save(place / label / f"{index:03d}.jpg")
