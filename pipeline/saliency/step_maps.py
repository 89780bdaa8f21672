"""Class activation maps out of a training step's own forward pass: no pass more, no decode more.

Where the head is a global average and one linear layer, the gradient of Eq. 2 is that layer's
weight row of the label over the number of cells, the same in every cell, so that a map is the
weighted sum of what the step has computed anyway.

Shape suffixes: B images, K classes, C channels, h and w feature map rows and columns.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pipeline.errors import NetworkError
from pipeline.saliency.feature_grid import FeatureGrid
from pipeline.saliency.head import find_head
from pipeline.saliency.hooks import borrowed, unwrap
from pipeline.saliency.tapped import TappedNetwork

__all__ = ["StepMaps"]

CLOSE = 1e-3
"""How far logits of the closed form may lie from the network's own, as a share of the largest."""
PROBED = 2
"""Images of noise that the closed form is tried on."""


class StepMaps:
    """Takes the target layer's output of a step and makes maps of it.

    Args:
        network: The network in training, without wrappers of a step's own such as DDP's.
        target_layer: Dotted layer name; None finds the layer before the global pooling.
        size: Side of the images in pixels.
        num_classes: K.
        any_head: Go back from the logits to the layer where there is no closed form: one backward
            pass through the head more for each step.

    Raises:
        NetworkError: If the layer can't be used, or there is no closed form and `any_head` is off.
    """

    def __init__(
        self,
        network: nn.Module,
        target_layer: str | None,
        *,
        size: int,
        num_classes: int,
        any_head: bool = False,
    ) -> None:
        network = unwrap(network)
        tapped = TappedNetwork(network, target_layer, None)
        self._head, self._grid = _closed_form(tapped, size, num_classes)
        self.target_layer = tapped.target_layer
        """Dotted name of the layer."""
        if self._head is None and not any_head:
            raise NetworkError(
                f"harvest.any_head must be true for {type(network).__name__}, whose head is not a "
                f"global average of layer {tapped.target_layer!r} and one linear layer, got false: "
                "set it, which costs a backward pass through the head for each step, or set "
                "refresh.mode to 'pass'"
            )
        self._layer = network.get_submodule(tapped.target_layer or "")
        self._output: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) of the maps."""
        return self._grid.height, self._grid.width

    @property
    def closed_form(self) -> bool:
        """Whether maps are weighted sums of the step's own activations."""
        return self._head is not None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Keep what the layer gives in the forward pass that runs inside."""

        def keep(_module: nn.Module, _arguments: object, output: Tensor) -> Tensor | None:
            if self._head is not None:
                self._output = output.detach()
                return None
            self._output = output
            # A copy and not a view: networks such as DenseNet go on in place, and the gradient
            # would be that of what became of it.
            return output.clone()

        handle = self._layer.register_forward_hook(keep)
        try:
            yield
        finally:
            handle.remove()

    def take(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the maps of the forward pass before, and let go of what was kept for them.

        Args:
            logits: (B, K) of that pass, before backward.
            labels: (B,) int64 class of each image.

        Returns:
            (B, h, w) float32 maps >= 0 on the network's device, not normalised.
        """
        output, self._output = self._output, None
        if output is None:
            raise NetworkError(
                f"target layer {self.target_layer!r} must run in each forward pass, got no call"
            )
        if self._head is not None:
            alphas_BC = self._head.get_parameter("weight").detach()[labels].flatten(1)
        else:
            score = logits.gather(1, labels[:, None]).sum()
            (gradient,) = torch.autograd.grad(score, output, retain_graph=True)
            alphas_BC = self._grid.channels_first(gradient).float().mean(dim=(2, 3))
        with torch.no_grad(), torch.autocast(output.device.type, enabled=False):
            features_BChw = self._grid.channels_first(output.detach()).float()
            return torch.einsum("bc,bchw->bhw", alphas_BC.float(), features_BChw).relu_()


def _closed_form(
    tapped: TappedNetwork, size: int, num_classes: int
) -> tuple[nn.Module | None, FeatureGrid]:
    """Return the head whose weight rows make the maps, None if there is none, and the grid."""
    network = tapped.network
    parameter = next(network.parameters())
    noise = torch.randn(PROBED, 3, size, size, generator=torch.Generator().manual_seed(0))
    with borrowed(network, device_type=parameter.device.type):
        leaf, grid, logits_BK = tapped.forward(
            noise.to(parameter.device, parameter.dtype), record=False
        )
    found = find_head(network, num_classes)
    features_BC = grid.channels_first(leaf).mean(dim=(2, 3))
    if found is None or grid.prefix or features_BC.shape[1] != _inputs(found[1]):
        return None, grid
    head = found[1]
    bias = getattr(head, "bias", None)
    with torch.no_grad():
        expected_BK = nn.functional.linear(
            features_BC, head.get_parameter("weight").flatten(1), bias
        )
    limit = CLOSE * float(logits_BK.abs().max())
    close = bool((expected_BK - logits_BK).abs().max() <= limit)
    return (head if close else None), grid


def _inputs(head: nn.Module) -> int:
    return int(head.get_parameter("weight").flatten(1).shape[1])
