"""Score-CAM: channels weighted by what the network says of the image seen through each.

Shape suffixes: B images, C channels of the layer, K of them that are used, h and w feature map
rows and columns, H and W image.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import NetworkError
from pipeline.saliency.batch_checks import check_batch, check_logits, outside_inference
from pipeline.saliency.hooks import borrowed
from pipeline.saliency.tapped import TappedNetwork

__all__ = ["ScoreCam", "score_cam"]

_MASKED_AT_ONCE = 64
"""Masked images in one forward pass, or as many as the batch has if that is more."""


def score_cam(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    target_layer: str | None = None,
    *,
    channels: int | None = None,
    token_grid: tuple[int, int] | None = None,
) -> Tensor:
    """Return the Score-CAM maps of one batch; see `ScoreCam`, which is for many.

    Args:
        network: A classifier of images; left exactly as found.
        images: (B, 3, H, W) floating point, preprocessed as the network expects.
        labels: (B,) integer class of each image.
        target_layer: Dotted layer name; None finds the layer before the global pooling.
        channels: K, channels used of each image, those with the largest variance; None uses all.
        token_grid: (h, w) of a transformer's patch tokens; None finds it.

    Returns:
        (B, h, w) float32 maps >= 0, not normalised, on the images' device.

    Raises:
        NetworkError: As `ScoreCam.maps_and_logits`.
    """
    cam = ScoreCam(network, target_layer, channels=channels, token_grid=token_grid)
    return cam.maps_and_logits(images, labels)[0]


class ScoreCam:
    """Score-CAM of a network (Wang et al. 2020): no gradients, one forward pass a channel.

    Each channel of the target layer is upsampled to the image (bilinear, align_corners=False), then
    scaled to [0, 1] over it, then multiplied with the preprocessed image; a flat channel masks
    everything. The label's logits of these images, softmaxed over the channels, weigh the channels,
    and the map is the ReLU of the weighted sum. As in the paper scaling comes after upsampling:
    torchcam scales first, which differs where upsampling misses a cell's extreme.

    With `channels` only the K of largest variance over the cells are used, which is called Faster
    Score-CAM; the softmax is then over those. The network is left as found, as by `GradCam`.

    Args:
        network: A classifier of (B, 3, H, W) images that returns (B, classes) logits.
        target_layer: Dotted layer name; None finds it at the first call.
        channels: K, at least 1, or None for all; more than the layer has are all.
        token_grid: (h, w) of a transformer's patch tokens; None finds it.
        between: Called before every forward pass of masked images; what it raises ends the call.

    Raises:
        NetworkError: If `channels` is below 1.
    """

    def __init__(
        self,
        network: nn.Module,
        target_layer: str | None = None,
        *,
        channels: int | None = None,
        token_grid: tuple[int, int] | None = None,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        if channels is not None and channels < 1:
            raise NetworkError(f"channels must be 1 or more, or None for all, got {channels}")
        self._tapped = TappedNetwork(network, target_layer, token_grid)
        self._channels = channels
        self._between = between

    @property
    def target_layer(self) -> str | None:
        """Dotted name of the layer; None as long as it has not been searched for."""
        return self._tapped.target_layer

    def maps_and_logits(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps of the labels' classes, and the logits of the plain images.

        Args:
            images: (B, 3, H, W) floating point, preprocessed as the network expects.
            labels: (B,) integer class of each image.

        Returns:
            Maps (B, h, w) float32 >= 0, not normalised; logits (B, classes) float32.

        Raises:
            NetworkError: If the images or labels don't fit the network, the layer can't be used,
                or logits are not finite.
        """
        check_batch(images, labels)
        with borrowed(self._tapped.network, device_type=images.device.type):
            images, labels = outside_inference(images, labels)
            features, grid, logits = self._tapped.forward(images, record=False)
            check_logits(logits, labels)
            features_BKhw = self._chosen(grid.channels_first(features).float())
            weights_BK = self._scores(images, labels, features_BKhw).softmax(dim=1)
            maps_Bhw = (weights_BK[:, :, None, None] * features_BKhw).sum(dim=1).relu()
        return maps_Bhw, logits.float()

    def _chosen(self, features_BChw: Tensor) -> Tensor:
        """Return the channels of largest variance, image by image, in their own order."""
        if self._channels is None or self._channels >= features_BChw.shape[1]:
            return features_BChw
        variances_BC = features_BChw.flatten(2).var(dim=2, correction=0)
        # A stable order: among equals (dead channels) the first are taken, on every device.
        order_BC = variances_BC.argsort(dim=1, descending=True, stable=True)
        chosen_BK = order_BC[:, : self._channels].sort(dim=1).values
        return features_BChw[
            torch.arange(len(chosen_BK), device=chosen_BK.device)[:, None], chosen_BK
        ]

    def _scores(self, images: Tensor, labels: Tensor, features_BKhw: Tensor) -> Tensor:
        """Return the label's logit of the image behind each channel's mask, (B, K) float32."""
        num_images, num_channels = features_BKhw.shape[:2]
        at_once = max(1, _MASKED_AT_ONCE // num_images)
        scores = []
        for first in range(0, num_channels, at_once):
            self._between()
            some_BKhw = features_BKhw[:, first : first + at_once]
            labels_N = labels.repeat_interleave(some_BKhw.shape[1])
            logits = self._tapped.network(_masked(images, some_BKhw))
            check_logits(logits, labels_N)
            score_N = logits.gather(1, labels_N[:, None]).float()
            scores.append(score_N.view(num_images, -1))
        return torch.cat(scores, dim=1)


def _masked(images: Tensor, features_BKhw: Tensor) -> Tensor:
    """Return the images behind the masks of their channels, (B * K, 3, H, W)."""
    with torch.autocast(images.device.type, enabled=False):
        size = (images.shape[2], images.shape[3])
        upsampled = functional.interpolate(
            features_BKhw, size, mode="bilinear", align_corners=False
        )
        low, high = upsampled.aminmax(dim=3, keepdim=True)
        low, high = low.amin(dim=2, keepdim=True), high.amax(dim=2, keepdim=True)
        masks_BKHW = (upsampled - low) / torch.where(high > low, high - low, 1.0)
        masked = (images[:, None] * masks_BKHW[:, :, None].to(images.dtype)).flatten(0, 1)
    channels_last = images.is_contiguous(memory_format=torch.channels_last)
    return masked.contiguous(
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )
