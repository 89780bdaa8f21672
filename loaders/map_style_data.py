"""Any data set of (image, label) seen as `ImageData`."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from loaders.errors import ImageReadError
from loaders.identity import content_id, ids_array, sample_id
from loaders.image_data import ImageData


class MapStyle(Protocol):
    """What PyTorch calls a map-style data set of (image, label), such as torchvision's."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def __getitem__(self, index: int, /) -> tuple[object, int]:
        """Return one image and its label."""


class MapStyleData(ImageData):
    """Wraps a map-style data set; images stay where they are and are read one by one.

    A sample is known by its index and label; what the image shows is not part of its identity, so
    a cache can't tell that images were replaced.

    Args:
        base: The data set. Images are PIL images, (H, W, 3) or (H, W) uint8 arrays, or
            (3, H, W) uint8 tensors.
        labels: (N,) integer labels; None takes `base.targets` or `base.labels`, else reads all.
        class_names: Names of the K classes; None takes `base.classes`, else numbers.
        name: What messages call it; None takes the class's name.

    Raises:
        DataError: If there are no samples, or fewer than 2 classes.
    """

    deep = False

    def __init__(
        self,
        base: MapStyle,
        *,
        labels: ArrayLike | None = None,
        class_names: Sequence[str] | None = None,
        name: str | None = None,
    ) -> None:
        self.base = base
        if labels is None:
            labels = getattr(base, "targets", getattr(base, "labels", None))
        if labels is None:
            labels = [int(base[index][1]) for index in range(len(base))]
        labels_N = np.asarray(labels, np.int64)
        if class_names is None:
            numbers = map(str, range(int(labels_N.max(initial=-1)) + 1))
            class_names = getattr(base, "classes", None) or tuple(numbers)
        keys = [str(index).encode() for index in range(len(labels_N))]
        ids = (sample_id(key, label) for key, label in zip(keys, labels_N.tolist(), strict=True))
        self._indices_N = np.arange(len(labels_N))
        super().__init__(
            name=name or type(base).__name__,
            class_names=class_names,
            labels=labels_N,
            sample_ids=ids_array(ids),
            content_ids=ids_array(content_id(key) for key in keys),
        )

    def describe(self, row: int) -> str:
        """Return the sample's name in messages."""
        return f"{self.name}[{self._indices_N[row]}]"

    def read(self, row: int) -> NDArray[np.uint8]:
        """Return the image at `row`, (H, W, 3) uint8 RGB.

        Raises:
            ImageReadError: If the data set gives something else than an image.
        """
        image = self.base[int(self._indices_N[row])][0]
        if isinstance(image, torch.Tensor):
            image = image.permute(1, 2, 0).numpy() if image.ndim == 3 else image.numpy()
        elif hasattr(image, "convert"):
            image = image.convert("RGB")
        pixels = np.array(image)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise ImageReadError(
                f"image {self.describe(row)} must be PIL, (H, W, 3) uint8 or a (3, H, W) uint8 "
                f"tensor, got {pixels.shape} {pixels.dtype}: give the data set no transform"
            )
        return pixels

    def _pick(self, rows: NDArray[np.int64]) -> None:
        super()._pick(rows)
        self._indices_N = self._indices_N[rows]
