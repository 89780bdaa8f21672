"""Saliency methods by the name under which a cache's provenance records them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from pipeline.errors import NetworkError
from pipeline.saliency.grad_cam import GradCam
from pipeline.saliency.score_cam import ScoreCam

__all__ = ["METHODS", "Explainer", "MethodChoice"]

METHODS = ("gradcam", "scorecam")
"""What a user may ask for."""


class Explainer(Protocol):
    """Makes maps of one network."""

    def maps_and_logits(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return maps (B, h, w) float32 >= 0 and logits (B, classes) float32."""


@dataclass(frozen=True, slots=True)
class MethodChoice:
    """A method with what else decides its maps.

    Raises:
        NetworkError: If there is no such method, or it has no such number of channels.
    """

    name: str
    """'gradcam' or 'scorecam'."""
    channels: int | None = None
    """Channels that Score-CAM uses of each image; None for all."""

    def __post_init__(self) -> None:
        if self.name not in METHODS:
            raise NetworkError(f"method must be one of {', '.join(METHODS)}, got {self.name!r}")
        if self.channels is not None and (self.name != "scorecam" or self.channels < 1):
            raise NetworkError(
                "channels must be 1 or more and go with method scorecam, got"
                f" {self.channels} with {self.name}"
            )

    @property
    def record(self) -> str:
        """The method as provenance has it: 'gradcam', 'scorecam' or 'scorecam:64'."""
        return self.name if self.channels is None else f"{self.name}:{self.channels}"

    @classmethod
    def of_record(cls, record: str) -> "MethodChoice":
        """Read what `record` gave.

        Raises:
            NetworkError: If this version does not know the method.
        """
        name, colon, channels = record.partition(":")
        if colon and not channels.isdecimal():
            raise NetworkError(f"method must be like 'scorecam:64', got {record!r}")
        return cls(name, int(channels) if colon else None)

    @classmethod
    def knows(cls, record: str) -> bool:
        """Tell whether maps of a record can be computed from images and weights.

        Those that were harvested from training's own steps can't.
        """
        return record.partition(":")[0] in METHODS

    def explainer(
        self,
        network: nn.Module,
        target_layer: str,
        token_grid: tuple[int, int],
        between: Callable[[], None],
    ) -> Explainer:
        """Return what makes this method's maps.

        Args:
            network: As for `GradCam`.
            target_layer: Dotted name.
            token_grid: (h, w) of the maps, where the layer has tokens.
            between: Called where a long method can be ended by raising.
        """
        if self.name == "gradcam":
            return GradCam(network, target_layer, token_grid=token_grid)
        return ScoreCam(
            network, target_layer, channels=self.channels, token_grid=token_grid, between=between
        )
