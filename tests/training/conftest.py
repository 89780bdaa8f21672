"""A recipe that trains in a second, on a folder of tiny images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pipeline.training.recipe import Recipe


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks run faster so, and tests beside each other do not fight."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train and test folders of 3 classes told apart by colour, 16x16 PNGs, long-tailed."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(5)
    for split, counts in (("train", (24, 12, 4)), ("test", (8, 8, 8))):
        for label, count in enumerate(counts):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 120, (16, 16, 3), np.uint8)
                pixels[4:12, 4:12, label] += 120
                Image.fromarray(pixels).save(folder / f"{index:03d}.png")
    return root


@pytest.fixture
def tiny_recipe(image_folder: Path) -> Callable[..., Recipe]:
    """Four epochs with a refresh after the second."""

    def make(*overrides: str) -> Recipe:
        from pipeline.training.recipe_file import load_recipe

        return load_recipe(
            None,
            [
                f"data.name={image_folder}",
                "data.size=16",
                "train.epochs=4",
                "train.batch_size=16",
                "train.precision=fp32",
                "refresh.interval=2",
                "augment.lambda_max=8.0",
                *overrides,
            ],
        )

    return make
