"""KeepAugment by the gradients of the network in training: a step before the forward pass.

Legend: B samples, M chosen samples, C channels, S side of the input, s side it is shrunk to.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from loaders.batches import Batch
from loaders.erasing import erase_rectangles
from loaders.methods.keep_augment import KeepAugment, put_back
from loaders.randomness import KeyedStream
from pipeline.saliency.hooks import borrowed, unwrap

__all__ = ["input_gradients", "keep_salient"]


def input_gradients(
    network: nn.Module, images: Tensor, labels: Tensor, *, size: int | None = None
) -> Tensor:
    """Return how much each pixel moves its image's own logit: max over c of |d l_y / d x_c|.

    The network runs in eval mode, so that BatchNorm's statistics stay as they are and samples do
    not depend on each other; it is given back as it was found, without gradients of its own.

    Args:
        network: The classifier.
        images: (B, C, S, S) floating, on the network's device.
        labels: (B,) int64.
        size: Side s that images are shrunk to before, and gradients enlarged from; None: S.

    Returns:
        (B, S, S) float32, at least 0.
    """
    network = unwrap(network)
    whole = images.shape[-2:]
    with borrowed(network, device_type=images.device.type), torch.enable_grad():
        inputs = images.detach()
        if size is not None:
            inputs = nn.functional.interpolate(
                inputs, size=(size, size), mode="bilinear", antialias=True
            )
        leaf = inputs.contiguous(memory_format=torch.channels_last).requires_grad_()
        logits_BK = network(leaf).float()
        (gradient,) = torch.autograd.grad(logits_BK.gather(1, labels[:, None]).sum(), leaf)
    saliency_BSS = gradient.abs().amax(dim=1).float()
    if size is None:
        return saliency_BSS
    return nn.functional.interpolate(saliency_BSS[:, None], size=whole, mode="bilinear")[:, 0]


def keep_salient(
    keep: KeepAugment, network: nn.Module, batch: Batch, *, epoch: int, seed: int
) -> Batch:
    """Cut or put back a square of each chosen image, by the network as it is now.

    Args:
        keep: The method; its options say how, its worker part has prepared the batch.
        network: The classifier in training.
        batch: On the network's device; its images are edited in place.
        epoch: 0-based epoch, and
        seed: the run's seed: they decide the draws, with indices and draws of the batch.

    Returns:
        The batch with the boxes; what is to be done with which image its events say.
    """
    slots_M = np.flatnonzero(batch.events.numpy())
    if len(slots_M) == 0:
        return batch
    originals = batch.images if batch.originals is None else batch.originals
    saliency_MSS = input_gradients(
        network, originals[slots_M], batch.labels[slots_M], size=keep.options.gradient_size
    )
    indices_M, draws_M = batch.indices.numpy()[slots_M], batch.draws.numpy()[slots_M]
    rng = KeyedStream(seed, epoch, indices_M, draws_M, "region")
    boxes_B4 = np.zeros((len(batch.indices), 4), np.int64)
    boxes_B4[slots_M] = keep.regions(saliency_MSS.cpu().numpy(), rng)
    if batch.originals is None:
        erase_rectangles(batch.images, boxes_B4)
    else:
        put_back(batch.images, originals, slots_M, boxes_B4[slots_M])
    return replace(batch, boxes=torch.from_numpy(boxes_B4), originals=None)
