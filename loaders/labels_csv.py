"""labels.csv: a table of image files and their class numbers, for data whose folders do not say."""

import csv
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loaders.errors import DataError
from loaders.folder_index import FolderIndex
from loaders.listing import UNSETTLED, Listing, Times, change_times

__all__ = ["LABELS_FILE", "index_labels_csv"]

LABELS_FILE = "labels.csv"
"""Name of the table in the data set's root folder; columns path, label and, if any, class name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    line: int
    path: str
    label: int
    class_name: str


def index_labels_csv(
    root: Path, split_folder: str, num_classes: int | None, known: FolderIndex | None = None
) -> FolderIndex:
    """Return the index of the files that root/labels.csv lists.

    Args:
        root: Folder that holds the table; its paths are relative to it.
        split_folder: Name of the split's sub-folder: rows outside it are of other splits. "" = all.
        num_classes: Number of classes K; None = the largest label of the table + 1.
        known: An earlier index for the same arguments: returned itself if neither table nor folders
            have changed.

    Raises:
        DataError: If the table is malformed or lists a file that is not there.
    """
    if known and known.listing.holds(root):
        return known
    table = root / LABELS_FILE
    places = [_place(table, LABELS_FILE)]
    rows = list(_read_table(table))
    if not rows:
        raise DataError(f"{table} lists no images; add rows under its header path,label")
    largest = max(rows, key=lambda row: row.label)
    if num_classes is not None and largest.label >= num_classes:
        raise DataError(
            f"labels in {table} must be below num_classes = {num_classes}, "
            f"got {largest.label} in line {largest.line}: mend the line, or leave the number out"
        )
    chosen = [row for row in rows if not split_folder or row.path.startswith(split_folder + "/")]
    if not chosen:
        raise DataError(
            f"{table} lists nothing below {split_folder}/, though {root} has split folders; "
            f"pass {root / split_folder} for its class folders, or move the table away"
        )
    # Before the files are looked at: whatever changes a folder from here on is noticed.
    folders = sorted({posixpath.dirname(row.path) for row in chosen})
    places += [_place(root / folder, folder) for folder in folders]
    files = [(os.fsencode(row.path), row.label, _size(root, table, row)) for row in chosen]
    names = _class_names(rows, num_classes or largest.label + 1)
    return FolderIndex.of(names, Listing.of(files, places))


def _place(path: Path, name: str) -> tuple[bytes, Times]:
    """Return a place and its times; those of one that is missing are told by what needs it."""
    try:
        return os.fsencode(name), change_times(path.stat())
    except OSError:
        return os.fsencode(name), UNSETTLED


def _read_table(table: Path) -> Iterator[_Row]:
    try:
        # utf-8-sig: spreadsheets write a byte order mark.
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [name for name in reader.fieldnames or () if name not in ("path", "label")]
            if not {"path", "label"} <= set(reader.fieldnames or ()):
                found = ",".join(reader.fieldnames or ())
                raise DataError(f"{table} must have the columns path,label, got {found!r}")
            for record in reader:
                yield _parse(table, reader.line_num, record, columns[0] if columns else None)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {table}: {error}; save it as UTF-8 text") from error


def _parse(table: Path, line: int, record: dict[str, str | None], third: str | None) -> _Row:
    path, label = (record["path"] or "").strip(), (record["label"] or "").strip()
    place = f"{table} line {line}"
    if not (label.isascii() and label.isdigit()):
        raise DataError(f"{place}: label must be an integer >= 0, got {label!r}")
    normal = posixpath.normpath(path)
    if not path or normal.startswith(("/", "../")) or normal in (".", ".."):
        raise DataError(f"{place}: path must be relative to and inside the folder, got {path!r}")
    folder = posixpath.basename(posixpath.dirname(normal))
    name = (record.get(third) or "").strip() if third else ""
    return _Row(line=line, path=normal, label=int(label), class_name=name or folder)


def _size(root: Path, table: Path, row: _Row) -> int:
    try:
        return (root / row.path).stat().st_size
    except OSError as error:
        raise DataError(
            f"{table} line {row.line}: cannot read {root / row.path}: {error.strerror}; "
            "add the file or remove the line"
        ) from error


def _class_names(rows: list[_Row], num_classes: int) -> list[str]:
    """Return K names: the one that all rows of a class agree on, else its number."""
    names: dict[int, set[str]] = {}
    for row in rows:
        names.setdefault(row.label, set()).add(row.class_name)
    unique = {label: found.pop() for label, found in names.items() if len(found) == 1}
    return [unique.get(label) or str(label) for label in range(num_classes)]
