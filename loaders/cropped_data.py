"""Images as evaluation on ImageNet takes them: the shorter side resized, the centre cut out.

Shape letters: C side of the cut in pixels, H height, W width.
"""

import numpy as np
from numpy.typing import NDArray

from loaders.errors import OptionError
from loaders.image_data import ImageData

__all__ = ["CentreCropped"]


class CentreCropped(ImageData):
    """Another data set's images, each resized and cut to C x C.

    As torchvision's `Resize(resize)` and `CenterCrop(crop)`: bilinear with antialiasing, the
    aspect kept.

    Args:
        data: The data set.
        resize: Length that the shorter side gets, in pixels.
        crop: C, at most `resize`.

    Raises:
        OptionError: If a length is out of range.
    """

    def __init__(self, data: ImageData, resize: int, crop: int) -> None:
        if not 1 <= crop <= resize:
            raise OptionError(
                f"the centre crop must be 1 pixel or more and at most the resized shorter side, "
                f"got a crop of {crop} from {resize}"
            )
        self._data, self._resize, self._crop = data, resize, crop
        super().__init__(
            name=data.name,
            class_names=data.class_names,
            labels=data.labels,
            sample_ids=data.sample_ids,
            content_ids=data.content_ids,
        )
        self.deep = data.deep

    def describe(self, row: int) -> str:
        """Return how messages name the image at `row`."""
        return self._data.describe(row)

    def read(self, row: int) -> NDArray[np.uint8]:
        """Return the cut of the image at `row`, (C, C, 3) uint8 RGB; see `ImageData.read`."""
        import torch
        from torchvision.transforms.v2 import functional

        image_3HW = torch.from_numpy(self._data.read(row)).permute(2, 0, 1)
        resized_3HW = functional.resize(
            image_3HW,
            [self._resize],
            interpolation=functional.InterpolationMode.BILINEAR,
            antialias=True,
        )
        cut_3CC = functional.center_crop(resized_3HW, [self._crop, self._crop])
        cut_CC3: NDArray[np.uint8] = cut_3CC.permute(1, 2, 0).numpy()
        return np.ascontiguousarray(cut_CC3)

    def _pick(self, rows: NDArray[np.int64]) -> None:
        super()._pick(rows)
        self._data = self._data.subset(rows)
