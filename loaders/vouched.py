"""Steps of a pipeline that get the image alone, so that nothing happens to the view beside it."""

from typing import Any

from torch import nn
from torchvision.transforms.v2 import functional

from loaders.errors import GeometryError
from loaders.view import View


class ImageOnly(nn.Module):
    """Hands the image to a step and leaves the view alone.

    Args:
        step: A callable from image to image.
    """

    def __init__(self, step: Any) -> None:  # noqa: ANN401  # any callable
        super().__init__()
        self.step = step

    def forward(self, image: Any, view: View) -> tuple[Any, View]:  # noqa: ANN401  # any image kind
        """Return the new image and the same view."""
        return self.step(image), view


class Vouched(ImageOnly):
    """A step that the user says is photometric; that it keeps the size is checked.

    Args:
        step: A callable from image to image.
        place: Where it stands in the pipeline, for messages.
    """

    def __init__(self, step: Any, place: str) -> None:  # noqa: ANN401  # any callable
        super().__init__(step)
        self._place = place

    def forward(self, image: Any, view: View) -> tuple[Any, View]:  # noqa: ANN401  # any image kind
        """Return the new image and the same view.

        Raises:
            GeometryError: If the step changes the size of the image.
        """
        output = self.step(image)
        size = tuple(functional.get_size(output))
        if size != view.size:
            raise GeometryError(
                f"trusted transform {type(self.step).__name__} ({self._place}) must keep the image "
                f"at {view.size}, got {size}: it is not photometric"
            )
        return output, view
