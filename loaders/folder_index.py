"""Finding the images below a folder: split folders, class folders, and the files in them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loaders.errors import DataError, OptionError
from loaders.identity import fingerprint
from loaders.listing import Listing, Times, change_times

__all__ = [
    "HELD_OUT_FOLDERS",
    "IMAGE_SUFFIXES",
    "FolderIndex",
    "find_split",
    "folders_in",
    "index_class_folders",
]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")
"""Suffixes of image files, in lower or upper case; other files are no part of a data set."""

HELD_OUT_FOLDERS = ("test", "val", "valid", "validation")
"""Names of the folder that holds split "test", the first found wins."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FolderIndex:
    """The images of one data set: where they are and what they show."""

    class_names: tuple[str, ...]
    """Name of each of the K classes."""

    listing: Listing
    """The files, by relative path."""

    class_folders: dict[str, tuple[slice, slice]]
    """Class folder -> which files and which places of the listing are in it; empty for a table."""

    fingerprint: str
    """Of the whole data set, see `loaders.identity.fingerprint`."""

    @classmethod
    def of(
        cls,
        class_names: Sequence[str],
        listing: Listing,
        class_folders: dict[str, tuple[slice, slice]] | None = None,
    ) -> "FolderIndex":
        """Return the index of files, with its fingerprint."""
        return cls(
            class_names=tuple(class_names),
            listing=listing,
            class_folders=class_folders or {},
            fingerprint=fingerprint(class_names, listing.sample_ids, listing.content_ids),
        )

    def unchanged(self, base: Path, folder: str, label: int) -> Listing | None:
        """Return what is in a class folder, None if it has changed or had another label.

        Args:
            base: Folder of class folders.
            folder: Name of the class folder.
            label: Its class number.
        """
        files, places = self.class_folders.get(folder, (slice(0), slice(0)))
        part = self.listing.part(files, places)
        known = len(part.labels) and part.labels[0] == label
        return part if known and part.holds(base) else None


def find_split(root: Path, split: str) -> str:
    """Return the name of the sub-folder that holds `split`; "" where `root` has no splits.

    A root has splits if it holds train/ and a held-out folder, or no other folders than these.

    Raises:
        OptionError: If `split` is neither "train" nor "test".
        DataError: If the root is no folder, or has no such split.
    """
    if split not in ("train", "test"):
        raise OptionError(f"split must be 'train' or 'test', got {split!r}")
    if not root.is_dir():
        raise DataError(f"data folder {root} does not exist or is no folder; check the path")
    folders = folders_in(root)
    held_out = [name for name in HELD_OUT_FOLDERS if name in folders]
    has_train = "train" in folders
    has_splits = (has_train and held_out) or (folders and folders <= {"train", *HELD_OUT_FOLDERS})
    if split == "train":
        if has_splits and not has_train:
            raise DataError(f"{root} has no train folder, got {held_out[0]}; add it or pass a root")
        return "train" if has_splits else ""
    if not has_splits or not held_out:
        raise DataError(
            f"{root} has no folder for split 'test', which is called {', '.join(HELD_OUT_FOLDERS)} "
            "and lies beside train; add one"
        )
    return held_out[0]


def index_class_folders(
    base: Path, class_names: Sequence[str] | None = None, known: FolderIndex | None = None
) -> FolderIndex:
    """Return the index of the images in the folders of `base`, one folder a class.

    Args:
        base: Folder of class folders.
        class_names: The classes of the train split, in label order; None = all folders by name.
        known: An earlier index: only class folders that are new or have changed are listed. It is
            returned itself if there are none.

    Raises:
        DataError: If there is no class folder, one is empty or unknown, or one can't be read.
    """
    folders = sorted(folders_in(base))
    if not folders:
        raise DataError(
            f"{base} has no class folders; put the images at {base}/CLASS/NAME.jpg, "
            "or list them in a labels.csv"
        )
    names = list(folders if class_names is None else class_names)
    label_of = {name: label for label, name in enumerate(names)}
    parts: list[Listing] = []
    num_listed = 0
    for folder in folders:
        if folder not in label_of:
            raise DataError(
                f"class folder {base / folder} is none of the train split's, which are "
                f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''}: rename or remove it"
            )
        label = label_of[folder]
        part = known.unchanged(base, folder, label) if known else None
        num_listed += part is None
        parts.append(part or _list_class_folder(base, folder, label))
    if known and not num_listed and list(known.class_folders) == folders:
        if known.class_names == tuple(names):
            return known
    return _joined(names, folders, parts)


def _joined(names: list[str], folders: list[str], parts: list[Listing]) -> FolderIndex:
    class_folders = {}
    file, place = 0, 0
    for folder, part in zip(folders, parts, strict=True):
        files, places = slice(file, file + len(part.paths)), slice(place, place + len(part.places))
        class_folders[folder] = (files, places)
        file, place = files.stop, places.stop
    return FolderIndex.of(names, Listing.joined(parts), class_folders)


def folders_in(root: Path) -> set[str]:
    """Return the names of the folders in `root`, without hidden ones."""
    try:
        with os.scandir(root) as entries:
            return {e.name for e in entries if e.is_dir() and not e.name.startswith(".")}
    except OSError as error:
        raise _unreadable(error) from error


def _list_class_folder(base: Path, folder: str, label: int) -> Listing:
    """Return the images below base/folder, by path, and all folders on the way."""
    files: list[tuple[bytes, int, int]] = []
    places: list[tuple[bytes, Times]] = []
    waiting = [folder]
    try:
        while waiting:
            place = waiting.pop()
            # Before its files are listed: whatever changes it from here on is noticed.
            places.append((os.fsencode(place), change_times((base / place).stat())))
            with os.scandir(base / place) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue  # as the "._name.jpg" companions that macOS leaves
                    path = f"{place}/{entry.name}"
                    if entry.is_dir():
                        waiting.append(path)
                    elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                        files.append((os.fsencode(path), label, entry.stat().st_size))
    except OSError as error:
        raise _unreadable(error) from error
    if not files:
        raise DataError(
            f"class folder {base / folder} has no image ({' '.join(IMAGE_SUFFIXES)}); "
            "add some or remove the folder"
        )
    return Listing.of(sorted(files), places)


def _unreadable(error: OSError) -> DataError:
    return DataError(
        f"cannot read {error.filename}: {error.strerror}; check the link or its rights"
    )
