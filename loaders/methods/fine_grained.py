"""OpenCV's fine-grained static saliency: centre against surround at six scales, no network.

Legend: C channels, H, W sides of an image.
"""

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.errors import OptionError

__all__ = ["FineGrained"]


class FineGrained:
    """The most salient pixel of an image, as SaliencyMix looks for it.

    The detector is made when it is first used, in the process that uses it.

    Raises:
        OptionError: If OpenCV's saliency module is not installed.
    """

    def __init__(self) -> None:
        _saliency_module()
        self._detector: Any = None

    def __getstate__(self) -> dict[str, object]:
        return {"_detector": None}

    def peak(self, image: NDArray[np.uint8]) -> tuple[int, int]:
        """Return the pixel (y, x) of highest saliency, the first in row-major order among equals.

        Args:
            image: (3, H, W) uint8 RGB.
        """
        if self._detector is None:
            self._detector = _saliency_module().StaticSaliencyFineGrained_create()
        image_HWC = np.ascontiguousarray(image[::-1].transpose(1, 2, 0))  # OpenCV's order is BGR
        _, saliency_HW = self._detector.computeSaliency(image_HWC)
        levels_HW = (saliency_HW * 255).astype(np.uint8)
        y, x = divmod(int(levels_HW.argmax()), levels_HW.shape[1])
        return y, x


def _saliency_module() -> Any:  # noqa: ANN401  # OpenCV ships no types for it
    try:
        return importlib.import_module("cv2").saliency
    except (ImportError, AttributeError) as error:
        raise OptionError(
            'saliency = "opencv" needs OpenCV\'s saliency module: pip install "scae[saliencymix]" '
            "(opencv-contrib-python-headless; other OpenCV packages are without it and have to be "
            'uninstalled first), or set saliency = "maps"'
        ) from error
