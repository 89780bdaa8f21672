"""Image data sets that are folders of JPEG, PNG and other files."""

import copy
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from loaders.decode import THREADS_FROM_BYTES, decode_bytes, read_bytes
from loaders.errors import ChangedImageError, DataError, OptionError
from loaders.folder_index import FolderIndex, find_split, folders_in, index_class_folders
from loaders.identity import content_id, ids_array
from loaders.image_data import ArrayData, ImageData
from loaders.index_folder import IndexPlace
from loaders.labels_csv import LABELS_FILE, index_labels_csv
from loaders.listing import size_id

__all__ = ["FolderData", "to_arrays"]

logger = logging.getLogger("scae")


class FolderData(ImageData):
    """A data set of image files: one folder a class, or any folders and a labels.csv.

    Where the root holds train/ and test/ (or val/, valid/, validation/), those are the splits, and
    the train split's folders say which classes there are. Paths, and so sample ids, are relative
    to the folder that holds the class folders or labels.csv. Nothing is decoded before `read`.
    The files are listed once, see `loaders.index_folder`: while the folders show the same times,
    the list of an earlier start is used, and a file that has another size than it says is refused
    when it is read.

    Args:
        root: The data set's folder.
        split: "train" or "test".
        num_classes: Number of classes K; None = as many as there are class folders, or the
            largest label of labels.csv + 1.
        name: What messages call it; None = the root folder's name.

    Raises:
        DataError: If there is no such data set; the message says what is missing.
        OptionError: If `split` is another word.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        split: str = "train",
        num_classes: int | None = None,
        name: str | None = None,
    ) -> None:
        root = Path(root)
        base, self._index_place, index = _open_index(root, split, num_classes)
        listing = index.listing
        self.base = str(base)
        self.deep = False
        self.paths = listing.paths
        self._accepts_changes = self._told_change = False
        super().__init__(
            name=name or root.resolve().name,
            class_names=index.class_names,
            labels=listing.labels,
            sample_ids=listing.sample_ids,
            content_ids=listing.content_ids,
        )
        self.fingerprint = index.fingerprint  # of the index: hashing takes a while

    def describe(self, row: int) -> str:
        """Return the path of the file at `row`."""
        return os.path.join(self.base, os.fsdecode(self.paths[row]))  # noqa: PTH118 (10x faster)

    def read(self, row: int) -> NDArray[np.uint8]:
        """Return the image at `row`, (H, W, 3) uint8 RGB; see `ImageData.read`.

        Raises:
            ImageReadError: If the file can't be decoded.
            ChangedImageError: If it is another than when the data was listed.
        """
        path = self.describe(row)
        content = read_bytes(path)
        pixels = decode_bytes(path, content)
        known = content_id(content) if self.deep else size_id(len(content))
        if int.from_bytes(known, "little") != self.content_ids[row]:
            self._tell_change(path, len(content))
        return pixels

    def _tell_change(self, path: str, size: int) -> None:
        """Raise ChangedImageError, or log the first change; the next start lists the data anew."""
        changed = f"image {path} has changed since the data was listed, it has {size} bytes now"
        left_to_do = self._index_place.forget()
        if not self._accepts_changes:
            cure = left_to_do or "run the same command again, which lists the data anew"
            raise ChangedImageError(f"{changed}: {cure}")
        if not self._told_change:
            self._told_change = True
            logger.warning("%s: its old map is used (--accept-stale)", changed)

    def accepting_changes(self) -> Self:
        """Return the data set that hands out images, too, that have changed since it was opened."""
        accepting = copy.copy(self)
        accepting._accepts_changes = True
        return accepting

    def forget_listing(self) -> None:
        """Have the data listed anew when it is opened next."""
        self._index_place.forget()

    def deepened(self, threads: int = 2) -> Self:
        """Return the data set with content ids of the files' bytes instead of their sizes.

        Args:
            threads: Files read at the same time.

        Raises:
            ImageReadError: If a file can't be read.
        """

        def hashed(row: int) -> bytes:
            return content_id(read_bytes(self.describe(row)))

        deeper = self.subset(np.arange(len(self)))
        with ThreadPoolExecutor(threads) as pool:
            deeper.content_ids = ids_array(pool.map(hashed, range(len(self))))
        deeper.content_ids.flags.writeable = False
        deeper.deep = True
        return deeper

    def load(self, max_bytes: int | None = None, threads: int = 2) -> ArrayData:
        """Return the data set held in memory; see `to_arrays`."""
        return to_arrays(self, threads, max_bytes=max_bytes)

    def _pick(self, rows: NDArray[np.int64]) -> None:
        super()._pick(rows)
        self.paths = self.paths.subset(rows)


def to_arrays(data: ImageData, threads: int = 2, *, max_bytes: int | None = None) -> ArrayData:
    """Return `data` decoded into memory, with its ids and fingerprint, so that caches serve both.

    Args:
        data: A data set whose images all have one size.
        threads: Images decoded at the same time; small ones always one after another.
        max_bytes: Largest size of the decoded images; None = no limit.

    Raises:
        DataError: If the images differ in size or need more than `max_bytes`.
        ImageReadError: If an image can't be decoded.
        OptionError: If `threads` is below 1.
    """
    if threads < 1:
        raise OptionError(f"threads must be 1 or more, got {threads}")
    first_HWC = data.read(0)
    num_bytes = first_HWC.nbytes * len(data)
    if max_bytes is not None and num_bytes > max_bytes:
        raise DataError(
            f"images of {data.name} in memory must take max_bytes = {max_bytes} or less, "
            f"got {num_bytes} ({len(data)} of {first_HWC.shape}); read them from files instead"
        )
    images_NHWC = np.empty((len(data), *first_HWC.shape), np.uint8)

    def fill(rows: range) -> None:
        for row in rows:
            image_HWC = data.read(row)
            if image_HWC.shape != first_HWC.shape:
                raise DataError(
                    f"images of {data.name} must have one size to be held in memory, got "
                    f"{first_HWC.shape} in {data.describe(0)} and {image_HWC.shape} in "
                    f"{data.describe(row)}; resize them or read them from files"
                )
            images_NHWC[row] = image_HWC

    parts = [range(start, min(start + 256, len(data))) for start in range(0, len(data), 256)]
    is_small = first_HWC.nbytes < THREADS_FROM_BYTES
    with ThreadPoolExecutor(1 if is_small else threads) as pool:
        for _ in pool.map(fill, parts):
            pass
    arrays = ArrayData(
        images_NHWC,
        data.labels,
        data.class_names,
        name=data.name,
        sample_ids=data.sample_ids,
        content_ids=data.content_ids,
        paths=getattr(data, "paths", None),
    )
    arrays.deep = data.deep
    return arrays


def _open_index(
    root: Path, split: str, num_classes: int | None
) -> tuple[Path, IndexPlace, FolderIndex]:
    """Return the folder that paths are relative to, where the index is kept, and the index."""
    folder = find_split(root, split)
    base = root / folder
    for table_folder, split_folder in ((base, ""), (root, folder)):
        if (table_folder / LABELS_FILE).exists():
            place = IndexPlace(table_folder, (LABELS_FILE, split_folder, num_classes))
            make = partial(index_labels_csv, table_folder, split_folder, num_classes)
            return table_folder, place, place.index(make)
    train_names = None
    if folder and (root / "train").is_dir():
        train_names = sorted(folders_in(root / "train"))
    place = IndexPlace(base, ("class folders",))
    index = place.index(partial(index_class_folders, base, train_names))
    if num_classes is not None and num_classes != len(index.class_names):
        raise DataError(
            f"{base} has {len(index.class_names)} class folders, got num_classes = {num_classes}: "
            "leave the number out, or name the folder that has as many"
        )
    return base, place, index
