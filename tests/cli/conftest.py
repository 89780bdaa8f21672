"""A folder of small images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of six 16x16 JPEGs."""
    rng = np.random.default_rng(1)
    for label in ("ant", "bee", "cat"):
        target = tmp_path / "data" / label
        target.mkdir(parents=True)
        for index in range(6):
            pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(target / f"{index}.jpg", quality=95)
    return tmp_path / "data"
