"""Grad-CAM at the price of a forward pass (Eq. 2 and 3).

Shape suffixes: B images, K classes, C channels, h and w feature map rows and columns.
"""

import torch
from torch import Tensor, nn

from pipeline.errors import NetworkError
from pipeline.saliency.feature_grid import FeatureGrid, describe_output
from pipeline.saliency.hooks import ActivationTap, borrowed, removing, unwrap
from pipeline.saliency.target_layer import find_target_layer

__all__ = ["GradCam", "grad_cam"]

_NUM_LISTED = 8
"""Rows named in an error message."""


def grad_cam(
    network: nn.Module, images: Tensor, labels: Tensor, target_layer: str | None = None
) -> Tensor:
    """Return the Grad-CAM maps of one batch; see `GradCam`, which is for many.

    Args:
        network: A classifier of images; left exactly as found.
        images: (B, 3, H, W) floating point, preprocessed as the network expects.
        labels: (B,) integer class of each image, in [0, K).
        target_layer: Dotted layer name; None finds the layer before the global pooling.

    Returns:
        (B, h, w) float32 maps >= 0, not normalised, on the images' device.

    Raises:
        NetworkError: As `GradCam.maps_and_logits`.
    """
    return GradCam(network, target_layer).maps_and_logits(images, labels)[0]


class GradCam:
    """Grad-CAM of a network: the backbone runs forward once, and backward not at all.

    The network runs in eval mode without gradients up to the target layer; from there on the
    forward pass is recorded, so that the gradient of the label's logit (before any softmax) with
    respect to the layer's output costs the head alone. Modes, BatchNorm statistics, `.grad`,
    grad mode and hooks are left as found, also after an exception; threads may share a network.

    BatchNorm layers without running statistics couple the images of a batch; their maps are
    then those of the batch and not of each image.

    Args:
        network: A classifier of (B, 3, H, W) images that returns (B, K) logits. DDP,
            DataParallel and `torch.compile` wrappers are looked through.
        target_layer: Dotted layer name; None finds the layer before the global pooling at the
            first call (see `find_target_layer`).
    """

    def __init__(self, network: nn.Module, target_layer: str | None = None) -> None:
        self._network = unwrap(network)
        self._target_layer = target_layer

    @property
    def target_layer(self) -> str | None:
        """Dotted name of the layer; None as long as it has not been searched for."""
        return self._target_layer

    def maps_and_logits(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps of the labels' classes, and the logits of the same forward pass.

        Args:
            images: (B, 3, H, W) floating point, preprocessed as the network expects.
            labels: (B,) integer class of each image, in [0, K).

        Returns:
            Maps (B, h, w) float32 >= 0, not normalised; logits (B, K) float32, detached.

        Raises:
            NetworkError: If the images or labels don't fit the network, the layer can't be
                used, the layer has no influence on the logits, or the logits are not finite.
        """
        _check_batch(images, labels)
        with borrowed(self._network, device_type=images.device.type):
            # Autograd can't save tensors of an inference block; a clone made out here it can.
            images = (images.clone() if images.is_inference() else images).detach()
            labels = labels.to(images.device, torch.int64, copy=labels.is_inference())
            tap, logits_BK = self._forward(images)
            _check_logits(logits_BK, labels)
            if tap.leaf is None or tap.grid is None:
                raise NetworkError(
                    f"target layer {self._target_layer!r} must run in the forward pass of"
                    f" {type(self._network).__name__}, got no call: name another layer"
                )
            gradient = self._gradient(logits_BK, labels, tap.leaf)
            self._check_tokens(gradient, tap.grid)
            maps_Bhw = _class_activation(tap.leaf, gradient, tap.grid)
        return maps_Bhw, logits_BK.detach().float()

    def _forward(self, images: Tensor) -> tuple[ActivationTap, Tensor]:
        """Run the network with the tap at the target layer; grad mode is on afterwards."""
        size = (images.shape[2], images.shape[3])
        modules = dict(self._network.named_modules(remove_duplicate=False))
        if not self._target_layer or self._target_layer not in modules:
            self._target_layer = find_target_layer(self._network, size, self._target_layer).name
        tap = ActivationTap(self._target_layer, batch=len(images), size=size)
        handle = modules[self._target_layer].register_forward_hook(tap)
        with removing([handle]):
            logits_BK = self._network(images)
        if not isinstance(logits_BK, Tensor) or logits_BK.ndim != 2:
            raise NetworkError(
                f"network {type(self._network).__name__} must return logits ({len(images)}, K),"
                f" got {describe_output(logits_BK)}: wrap it in a module that returns them alone"
            )
        return tap, logits_BK

    def _gradient(self, logits_BK: Tensor, labels_B: Tensor, leaf: Tensor) -> Tensor:
        """Return d(sum of label logits)/d(leaf), per image since eval mode couples none."""
        gradient = None
        if logits_BK.requires_grad:
            score = logits_BK.gather(1, labels_B[:, None]).sum()
            (gradient,) = torch.autograd.grad(score, leaf, allow_unused=True)
        if gradient is None:
            raise NetworkError(
                f"target layer {self._target_layer!r} must have an influence on the logits of"
                f" {type(self._network).__name__}, got none that autograd can follow: name"
                " another layer, and look for no_grad or detach after it"
            )
        return gradient

    def _check_tokens(self, gradient: Tensor, grid: FeatureGrid) -> None:
        """Refuse a layer after the last attention, where only the class token still counts."""
        if grid.prefix and gradient.any() and not grid.channels_first(gradient).any():
            raise NetworkError(
                f"target layer {self._target_layer!r} must have patch tokens with an influence on"
                " the logits, got a gradient for the class token alone: name the norm before the"
                " last block's attention (such as 'blocks.11.norm1')"
            )


@torch.no_grad()
def _class_activation(leaf: Tensor, gradient: Tensor, grid: FeatureGrid) -> Tensor:
    """Return ReLU(sum_k alpha_k F^k) (Eq. 3), alpha_k the gradient's spatial mean (Eq. 2)."""
    # In bfloat16 the sums would round visibly. A product and a sum stay float32 also under the
    # caller's autocast, which a matrix product would not.
    features_BChw = grid.channels_first(leaf).float()
    gradients_BChw = grid.channels_first(gradient).float()
    alphas_BC11 = gradients_BChw.mean(dim=(2, 3), keepdim=True)
    return (alphas_BC11 * features_BChw).sum(dim=1).relu()


def _check_batch(images: Tensor, labels: Tensor) -> None:
    if images.ndim != 4 or not len(images) or not images.is_floating_point():
        raise NetworkError(
            f"images must be (B, 3, H, W) floating point with B >= 1, got {describe_output(images)}"
        )
    if labels.shape != images.shape[:1] or labels.is_floating_point() or labels.is_complex():
        raise NetworkError(
            f"labels must be ({len(images)},) integers, one an image, got {describe_output(labels)}"
        )


def _check_logits(logits_BK: Tensor, labels_B: Tensor) -> None:
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
