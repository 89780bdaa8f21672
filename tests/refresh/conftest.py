"""A folder of small JPEGs, and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def jpeg_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make `num` JPEGs a class, of different sizes."""

    def make(name: str = "photos", num: int = 10) -> Path:
        rng = np.random.default_rng(3)
        for label in ("cat", "dog", "emu"):
            folder = tmp_path / name / label
            folder.mkdir(parents=True)
            for index in range(num):
                pixels = rng.integers(0, 256, (20 + index % 3, 24, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{index:02d}.jpg")
        return tmp_path / name

    return make
