"""Steps of torchvision's pipelines, as tests of views put them together."""

from typing import Any

from torch import nn
from torchvision.transforms.v2 import InterpolationMode, functional

SMOOTH, POINTS = InterpolationMode.BILINEAR, InterpolationMode.NEAREST


class Call(nn.Module):
    """A functional with fixed arguments, as a step of a pipeline."""

    def __init__(self, name: str, **arguments: Any) -> None:  # noqa: ANN401
        super().__init__()
        self._functional, self._arguments = getattr(functional, name), arguments

    def forward(self, *inputs: Any) -> Any:  # noqa: ANN401
        moved = tuple(self._functional(item, **self._arguments) for item in inputs)
        return moved if len(moved) > 1 else moved[0]
