"""Run a network with a tap at its target layer, which is found when it was not named."""

from torch import Tensor, nn

from pipeline.errors import NetworkError
from pipeline.saliency.feature_grid import FeatureGrid, describe_output
from pipeline.saliency.hooks import ActivationTap, removing, unwrap
from pipeline.saliency.target_layer import find_target_layer

__all__ = ["TappedNetwork"]

Size = tuple[int, int]


class TappedNetwork:
    """A network whose target layer's output is kept when it runs.

    Args:
        network: A classifier; DDP, DataParallel and `torch.compile` wrappers are looked through.
        target_layer: Dotted layer name; None finds it at the first forward pass.
        token_grid: (h, w) of the patch tokens of a layer with tokens; None finds it.
    """

    def __init__(
        self, network: nn.Module, target_layer: str | None, token_grid: Size | None
    ) -> None:
        self.network = unwrap(network)
        self.target_layer = target_layer
        """Dotted name; None as long as it has not been searched for."""
        self._token_grid = token_grid
        self._found_grids: dict[Size, Size] = {}

    def forward(self, images: Tensor, *, record: bool) -> tuple[Tensor, FeatureGrid, Tensor]:
        """Run the network, which the caller has borrowed.

        Args:
            images: (B, 3, H, W).
            record: Whether to record what follows the layer for autograd; grad mode is on
                afterwards.

        Returns:
            The layer's output, where its axes are, and the logits (B, K).

        Raises:
            NetworkError: If the layer does not run or can't be used, or there are no logits.
        """
        size = (images.shape[2], images.shape[3])
        modules = dict(self.network.named_modules(remove_duplicate=False))
        if not self.target_layer or self.target_layer not in modules:
            found = find_target_layer(self.network, size, self.target_layer, self._token_grid)
            self.target_layer = found.name
            self._found_grids[size] = (found.height, found.width)
        tap = ActivationTap(
            self.target_layer,
            batch=len(images),
            size=size,
            token_grid=self._token_grid or self._found_grids.get(size),
            record=record,
        )
        with removing([modules[self.target_layer].register_forward_hook(tap)]):
            logits_BK = self.network(images)
        if not isinstance(logits_BK, Tensor) or logits_BK.ndim != 2:
            raise NetworkError(
                f"network {type(self.network).__name__} must return logits ({len(images)}, K),"
                f" got {describe_output(logits_BK)}: wrap it in a module that returns them alone"
            )
        if tap.leaf is None or tap.grid is None:
            raise NetworkError(
                f"target layer {self.target_layer!r} must run in the forward pass of"
                f" {type(self.network).__name__}, got no call: name another layer"
            )
        return tap.leaf, tap.grid, logits_BK
