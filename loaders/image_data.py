"""Image data sets: what every one of them offers, and the one that is held in memory.

Shape letters: N images, K classes, H height, W width.
"""

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loaders.errors import DataError
from loaders.identity import PathTable, content_id, fingerprint, ids_array, sample_id
from loaders.shared_array import SharedArrays

__all__ = ["ArrayData", "ImageData"]

Scalar = TypeVar("Scalar", bound=np.generic)


class ImageData(SharedArrays, ABC):
    """A labelled image data set; row i is sample i of the training set as trained.

    Args:
        name: What messages call it.
        class_names: Name of each of the K classes.
        labels: (N,) int64 in [0, K).
        sample_ids: (N,) uint64, each one different; see `sample_id`.
        content_ids: (N,) uint64, a hash of the pixels or of what stands for them.

    Raises:
        DataError: If there are no images, fewer than 2 classes, a label outside [0, K), an array
            of another length, or two samples with one id.
    """

    masks: NDArray[np.bool_] | None = None
    """Which pixels show the object, (N, H, W) bool, where that is known."""

    deep: bool = True
    """Whether content ids change with every byte of an image, or with something cheaper."""

    def __init__(
        self,
        *,
        name: str,
        class_names: Sequence[str],
        labels: ArrayLike,
        sample_ids: NDArray[np.uint64],
        content_ids: NDArray[np.uint64],
    ) -> None:
        self.name = name
        self.class_names = tuple(class_names)
        self.labels = _frozen(np.array(labels, dtype=np.int64))
        self.sample_ids = _frozen(sample_ids)
        self.content_ids = _frozen(content_ids)
        self._check()

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name!r}, {len(self)} images, {self.num_classes} classes)"
        )

    @property
    def num_classes(self) -> int:
        """Number of classes K, those without an image included."""
        return len(self.class_names)

    @cached_property
    def class_counts(self) -> NDArray[np.int64]:
        """Number of images of each class, (K,) int64."""
        return _frozen(np.bincount(self.labels, minlength=self.num_classes).astype(np.int64))

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the class names and of all samples, whatever their order."""
        return fingerprint(self.class_names, self.sample_ids, self.content_ids)

    @abstractmethod
    def describe(self, row: int) -> str:
        """Return how messages name the image at `row`: its path, or as in `shapes[17]`."""

    @abstractmethod
    def read(self, row: int) -> NDArray[np.uint8]:
        """Return the image at `row`, (H, W, 3) uint8 RGB, a writable array of its own.

        Raises:
            ImageReadError: If the file can't be decoded; the message names it.
        """

    def accepting_changes(self) -> Self:
        """Return the data set that hands out images, too, that have changed since it was opened.

        Only files are compared; other data hands out what it has.
        """
        return self

    def forget_listing(self) -> None:
        """Have the data listed anew when it is opened next, where that is done from a list."""

    def subset(self, rows: ArrayLike) -> Self:
        """Return the data set of the images at `rows`, in that order, with the same classes.

        Raises:
            DataError: If a row is outside [0, N) or occurs twice, or there is none.
        """
        picked = copy.copy(self)
        for cached in ("class_counts", "fingerprint"):
            picked.__dict__.pop(cached, None)
        picked._pick(self.check_rows(rows))
        picked._check()
        return picked

    def check_rows(self, rows: ArrayLike) -> NDArray[np.int64]:
        """Return `rows` as (n,) int64, or raise DataError for what is no list of our rows."""
        checked = np.asarray(rows)
        if checked.ndim != 1 or (checked.size and checked.dtype.kind not in "iu"):
            raise DataError(
                f"rows of {self.name} must be a 1-D list of integers, "
                f"got shape {checked.shape} {checked.dtype}"
            )
        if checked.size and not (0 <= checked.min() and checked.max() < len(self)):
            raise DataError(
                f"rows of {self.name} must be in [0, {len(self)}), "
                f"got {checked.min()} to {checked.max()}"
            )
        return checked.astype(np.int64)

    def _pick(self, rows: NDArray[np.int64]) -> None:
        """Keep `rows` of every attribute that has one entry an image."""
        self.labels = _frozen(self.labels[rows])
        self.sample_ids = _frozen(self.sample_ids[rows])
        self.content_ids = _frozen(self.content_ids[rows])

    def _check(self) -> None:
        num_images = len(self.labels)
        if self.labels.ndim != 1 or num_images == 0:
            raise DataError(f"{self.name} must have 1 image or more, got {self.labels.shape}")
        if self.num_classes < 2:
            raise DataError(
                f"{self.name} must have 2 classes or more, got {self.num_classes}: "
                f"{', '.join(self.class_names)}; add images of another class"
            )
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= self.num_classes:
            raise DataError(
                f"labels of {self.name} must be in [0, {self.num_classes}), got {low} to {high}"
            )
        for what, ids in (("sample_ids", self.sample_ids), ("content_ids", self.content_ids)):
            if ids.shape != (num_images,) or ids.dtype != np.uint64:
                raise DataError(
                    f"{what} of {self.name} must be ({num_images},) uint64, "
                    f"got {ids.shape} {ids.dtype}"
                )
        self._check_unique()

    def _check_unique(self) -> None:
        order = np.argsort(self.sample_ids, kind="stable")
        twins = np.flatnonzero(np.diff(self.sample_ids[order]) == 0)
        if twins.size:
            first, second = sorted(int(row) for row in order[twins[0] : twins[0] + 2])
            raise DataError(
                f"samples of {self.name} must differ in path or label, got rows {first} and "
                f"{second} with one id ({self.describe(first)}, {self.describe(second)}); "
                "remove or rename one of them"
            )


class ArrayData(ImageData):
    """A data set held in memory, all images of one size.

    Args:
        images: (N, H, W, 3) uint8 RGB; not copied, read-only through this object.
        labels: (N,) integers in [0, K).
        class_names: Name of each of the K classes.
        name: What messages call it.
        origins: Index of each image in the full data set, (N,) int64; None = 0 .. N-1. It makes
            the sample ids, so that a subset keeps them.
        masks: Which pixels show the object, (N, H, W) bool, if known.
        sample_ids: (N,) uint64 where they come from elsewhere; None = of origin and label.
        content_ids: (N,) uint64 where they come from elsewhere; None = of the pixels.
        paths: Where the images were read from; None = `describe` shows the origin.

    Raises:
        DataError: If the arrays do not have these shapes and types, or as `ImageData`.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: ArrayLike,
        class_names: Sequence[str],
        *,
        name: str = "array",
        origins: ArrayLike | None = None,
        masks: NDArray[np.bool_] | None = None,
        sample_ids: NDArray[np.uint64] | None = None,
        content_ids: NDArray[np.uint64] | None = None,
        paths: PathTable | None = None,
    ) -> None:
        labels_N = np.array(labels, dtype=np.int64)
        origins_N = np.array(np.arange(len(images)) if origins is None else origins, np.int64)
        _check_arrays(name, images, labels_N, origins_N, masks)
        if sample_ids is None:
            keys = zip(origins_N.tolist(), labels_N.tolist(), strict=True)
            sample_ids = ids_array(sample_id(str(key).encode(), label) for key, label in keys)
        if content_ids is None:
            content_ids = ids_array(content_id(image_HWC.tobytes()) for image_HWC in images)
        self.images = _frozen(images)
        self.masks = None if masks is None else _frozen(masks)
        self.origins = _frozen(origins_N)
        self.paths = paths
        super().__init__(
            name=name,
            class_names=class_names,
            labels=labels_N,
            sample_ids=sample_ids,
            content_ids=content_ids,
        )

    def describe(self, row: int) -> str:
        """Return the path below the data set's name, or as in `shapes[17]` the original index."""
        if self.paths is not None:
            return f"{self.name}/{os.fsdecode(self.paths[row])}"
        return f"{self.name}[{self.origins[row]}]"

    def read(self, row: int) -> NDArray[np.uint8]:
        """Return a copy of the image at `row`, (H, W, 3) uint8 RGB."""
        image_HWC: NDArray[np.uint8] = self.images[row].copy()
        return image_HWC

    def _pick(self, rows: NDArray[np.int64]) -> None:
        super()._pick(rows)
        self.images = _frozen(self.images[rows])
        self.origins = _frozen(self.origins[rows])
        if self.masks is not None:
            self.masks = _frozen(self.masks[rows])
        if self.paths is not None:
            self.paths = self.paths.subset(rows)


def _check_arrays(
    name: str,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    origins: NDArray[np.int64],
    masks: NDArray[np.bool_] | None,
) -> None:
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise DataError(
            f"images of {name} must be (N, H, W, 3) uint8, got {images.shape} {images.dtype}"
        )
    for what, array in (("labels", labels), ("origins", origins)):
        if array.shape != images.shape[:1]:
            raise DataError(f"{what} of {name} must be ({len(images)},), got {array.shape}")
    if masks is not None and (masks.shape != images.shape[:3] or masks.dtype != np.bool_):
        raise DataError(
            f"masks of {name} must be {images.shape[:3]} bool, got {masks.shape} {masks.dtype}"
        )


def _frozen(array: NDArray[Scalar]) -> NDArray[Scalar]:
    # A view: the caller's own array object keeps its flag, ours cannot be written through.
    view = array.view()
    view.flags.writeable = False
    return view
