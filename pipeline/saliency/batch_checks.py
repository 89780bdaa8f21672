"""Refuse batches and logits that can't be explained, naming the rows.

Shape suffixes: B images, K classes.
"""

import torch
from torch import Tensor

from pipeline.errors import NetworkError
from pipeline.saliency.feature_grid import describe_output

__all__ = ["check_batch", "check_logits", "outside_inference"]

_NUM_LISTED = 8
"""Rows named in an error message."""


def check_batch(images: Tensor, labels: Tensor) -> None:
    """Check what a caller handed over.

    Raises:
        NetworkError: If `images` is not (B, 3, H, W) floating point or `labels` not (B,) integers.
    """
    if images.ndim != 4 or not len(images) or not images.is_floating_point():
        raise NetworkError(
            f"images must be (B, 3, H, W) floating point with B >= 1, got {describe_output(images)}"
        )
    if labels.shape != images.shape[:1] or labels.is_floating_point() or labels.is_complex():
        raise NetworkError(
            f"labels must be ({len(images)},) integers, one an image, got {describe_output(labels)}"
        )


def outside_inference(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return both on one device, detached, without the marks of an inference block.

    Autograd can't save tensors of such a block; a clone made outside of it it can.
    """
    images = (images.clone() if images.is_inference() else images).detach()
    return images, labels.to(images.device, torch.int64, copy=labels.is_inference())


def check_logits(logits_BK: Tensor, labels_B: Tensor) -> None:
    """Check the logits of a batch and that the labels are among its classes.

    Raises:
        NetworkError: If they are not one row an image, a label is outside, or a row is not finite.
    """
    if len(logits_BK) != len(labels_B):
        raise NetworkError(f"logits must be ({len(labels_B)}, K), got {describe_output(logits_BK)}")
    num_classes = logits_BK.shape[1]
    wrong_B = (labels_B < 0) | (labels_B >= num_classes)
    if wrong_B.any():
        row = int(wrong_B.nonzero()[0])
        raise NetworkError(
            f"labels must be in [0, {num_classes}), the network's classes, got"
            f" {int(labels_B[row])} in row {row} of the batch: data set and network differ"
        )
    infinite_B = ~logits_BK.detach().isfinite().all(dim=1)
    if infinite_B.any():
        rows = infinite_B.nonzero()[:_NUM_LISTED, 0].tolist()
        raise NetworkError(
            f"logits must be finite, got NaN or infinity in {int(infinite_B.sum())} of"
            f" {len(labels_B)} rows, first {rows}: the logits are not finite, so look for diverged"
            " weights, broken images or float16 overflow"
        )
