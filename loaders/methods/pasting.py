"""What methods that mix a batch with itself share: the other images, the box, its share.

Legend: B samples.
"""

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from loaders.erasing import centred_boxes
from loaders.methods.draft import Draft, mixed_labels
from loaders.policy import Event
from loaders.randomness import Uniforms

__all__ = ["cut_boxes", "paste_boxes", "permutation", "soft_unmixed"]


def permutation(num: int, rng: Uniforms) -> NDArray[np.int64]:
    """Return a uniform permutation of `num` samples, (B,) int64, from one row of numbers."""
    return np.argsort(rng.random((1, num))[0], kind="stable")


def cut_boxes(lam: float, centres: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.int64]:
    """Return CutMix's boxes: sides sqrt(1 - lam) of the image's, cut at the border.

    Args:
        lam: Share of the image that is to stay, in [0, 1].
        centres: (B, 2) int64 rows (y, x).
        size: (H, W) of the images.

    Returns:
        (B, 4) int64 rows (y0, x0, y1, x1), half open; `int(side * sqrt(1 - lam)) // 2` pixels
        either way of the centre.
    """
    cut = math.sqrt(1.0 - lam)
    height, width = (np.full(len(centres), int(side * cut) // 2 * 2) for side in size)
    return centred_boxes(centres, height, width, size)


def paste_boxes(draft: Draft, partners: NDArray[np.int64], boxes: NDArray[np.int64]) -> None:
    """Copy each image's box from its partner, in place, and mix labels by area.

    Args:
        draft: The batch.
        partners: (B,) int64 slots of the batch to copy from.
        boxes: (B, 4) int64 rows (y0, x0, y1, x1), the same place in source and target.
    """
    images: Tensor = draft.images
    sources = images[partners]
    for slot, (y0, x0, y1, x1) in enumerate(boxes.tolist()):
        images[slot, :, y0:y1, x0:x1] = sources[slot, :, y0:y1, x0:x1]
    height, width = draft.size
    share_B = 1.0 - (boxes[:, 2:] - boxes[:, :2]).prod(1) / (height * width)
    draft.labels = mixed_labels(draft.classes, draft.classes[partners], share_B, draft.num_classes)
    draft.events[:] = Event.PASTE
    draft.boxes[:] = boxes


def soft_unmixed(draft: Draft) -> None:
    """Make the labels of a batch that stays as it is shares too, so that all batches are alike."""
    draft.labels = mixed_labels(
        draft.classes, draft.classes, np.ones(len(draft)), draft.num_classes
    )
