"""Grad-CAM at the price of a forward pass (Eq. 2 and 3).

Shape suffixes: B images, K classes, C channels, h and w feature map rows and columns.
"""

import torch
from torch import Tensor, nn

from pipeline.errors import NetworkError
from pipeline.saliency.batch_checks import check_batch, check_logits, outside_inference
from pipeline.saliency.feature_grid import FeatureGrid
from pipeline.saliency.hooks import borrowed
from pipeline.saliency.tapped import TappedNetwork

__all__ = ["GradCam", "grad_cam"]


def grad_cam(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    target_layer: str | None = None,
    *,
    token_grid: tuple[int, int] | None = None,
) -> Tensor:
    """Return the Grad-CAM maps of one batch; see `GradCam`, which is for many.

    Args:
        network: A classifier of images; left exactly as found.
        images: (B, 3, H, W) floating point, preprocessed as the network expects.
        labels: (B,) integer class of each image, in [0, K).
        target_layer: Dotted layer name; None finds the layer before the global pooling.
        token_grid: (h, w) of a transformer's patch tokens; None finds it.

    Returns:
        (B, h, w) float32 maps >= 0, not normalised, on the images' device.

    Raises:
        NetworkError: As `GradCam.maps_and_logits`.
    """
    return GradCam(network, target_layer, token_grid=token_grid).maps_and_logits(images, labels)[0]


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
        token_grid: (h, w) of a transformer's patch tokens, whatever tokens come before them; None
            takes the patch embedding's grid, or a square with or without one class token.
    """

    def __init__(
        self,
        network: nn.Module,
        target_layer: str | None = None,
        *,
        token_grid: tuple[int, int] | None = None,
    ) -> None:
        self._tapped = TappedNetwork(network, target_layer, token_grid)

    @property
    def target_layer(self) -> str | None:
        """Dotted name of the layer; None as long as it has not been searched for."""
        return self._tapped.target_layer

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
        check_batch(images, labels)
        with borrowed(self._tapped.network, device_type=images.device.type):
            images, labels = outside_inference(images, labels)
            leaf, grid, logits_BK = self._tapped.forward(images, record=True)
            check_logits(logits_BK, labels)
            gradient = self._gradient(logits_BK, labels, leaf)
            self._check_tokens(gradient, grid)
            maps_Bhw = _class_activation(leaf, gradient, grid)
        return maps_Bhw, logits_BK.detach().float()

    def _gradient(self, logits_BK: Tensor, labels_B: Tensor, leaf: Tensor) -> Tensor:
        """Return d(sum of label logits)/d(leaf), per image since eval mode couples none."""
        gradient = None
        if logits_BK.requires_grad:
            score = logits_BK.gather(1, labels_B[:, None]).sum()
            (gradient,) = torch.autograd.grad(score, leaf, allow_unused=True)
        if gradient is None:
            raise NetworkError(
                f"target layer {self.target_layer!r} must have an influence on the logits of"
                f" {type(self._tapped.network).__name__}, got none that autograd can follow: name"
                " another layer, and look for no_grad or detach after it"
            )
        return gradient

    def _check_tokens(self, gradient: Tensor, grid: FeatureGrid) -> None:
        """Refuse a layer after the last attention, where only the class token still counts."""
        if grid.prefix and gradient.any() and not grid.channels_first(gradient).any():
            raise NetworkError(
                f"target layer {self.target_layer!r} must have patch tokens with an influence on"
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
