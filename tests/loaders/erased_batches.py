"""What tests of SCAE's batches share: transforms, maps, a policy that always erases, keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loaders.batches import BatchKey
from loaders.geometry import CropFlip, Whole
from loaders.image_data import ArrayData
from loaders.policy import ScaePolicy
from loaders.transforms import StandardTransform
from tests.loaders.conftest import MEAN, STD

if TYPE_CHECKING:
    from numpy.typing import NDArray

STANDARD = StandardTransform(geometry=CropFlip(16), mean=MEAN, std=STD)
WHOLE = StandardTransform(geometry=Whole(16), mean=MEAN, std=STD)


def corner_maps(num: int) -> NDArray[np.uint8]:
    """Row i is salient in one of four corners: i % 4."""
    maps = np.zeros((num, 4, 4), np.uint8)
    for row in range(num):
        maps[row, 3 * (row // 2 % 2), 3 * (row % 2)] = 255
    return maps


def erasing_policy(data: ArrayData, **options: object) -> ScaePolicy:
    """Return a policy that erases every image of every class."""
    settings: dict[str, object] = {
        "num_epochs": 4,
        "class_counts": tuple(data.class_counts.tolist()),
        "p_min": 1.0,
        "p_max": 1.0,
        **options,
    }
    return ScaePolicy(**settings)  # type: ignore[arg-type]


def batch_key(indices: list[int], epoch: int = 0, generation: int = 0) -> BatchKey:
    """Return the key of a batch of samples, each in its first draw."""
    rows = np.array(indices, np.int64)
    return BatchKey(
        epoch=epoch, generation=generation, step=0, indices=rows, draws=np.zeros_like(rows)
    )
