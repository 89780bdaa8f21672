"""The bytes of an index file: a listing of a data set's folders, with a checksum over all of it.

The file is read into memory, not mapped: on a network file system a mapped one that another
machine replaces would end this process.

Legend: N files, P places, C class folders, K classes.
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.errors import DataError
from loaders.folder_index import IMAGE_SUFFIXES, FolderIndex
from loaders.identity import PathTable
from loaders.listing import Listing

__all__ = ["DamagedIndexError", "decode_index", "encode_index", "encode_key", "read_base"]

MAGIC = b"SCAEIDX1"
"""First bytes; the digit is the version of the format."""
DIGEST_BYTES = 32
"""Length of the SHA-256 behind the magic, which covers all that follows."""
LENGTH_BYTES = 4
"""Length of the number behind that, little-endian: how long the key behind it is. The columns, as
NumPy's npz, are the rest."""
_KEY_START = len(MAGIC) + DIGEST_BYTES + LENGTH_BYTES


NO_INDEX = "it is no index file of this version"


class DamagedIndexError(DataError):
    """Raised when an index file is not what was written, or is of other data."""


def encode_key(base: str, made_by: Sequence[str | int | None]) -> bytes:
    """Return the key of an index: everything that decides, beside the files, what it holds.

    Args:
        base: Absolute path of the folder that its paths are relative to.
        made_by: What else decides.
    """
    # In ASCII, so that names that are no UTF-8 have their one form too.
    return json.dumps([base, *made_by, *IMAGE_SUFFIXES]).encode("ascii")


def read_base(path: Path) -> str:
    """Return the base of an index file without reading all of it; nothing is checked.

    Raises:
        DamagedIndexError: If it is no index file.
        OSError: If it can't be read.
    """
    with path.open("rb") as file:
        head = file.read(_KEY_START)
        if head[: len(MAGIC)] != MAGIC:
            raise DamagedIndexError(NO_INDEX)
        key = file.read(int.from_bytes(head[-LENGTH_BYTES:], "little"))
    try:
        return str(json.loads(key)[0])
    except (ValueError, LookupError) as error:
        raise DamagedIndexError(NO_INDEX) from error


def encode_index(index: FolderIndex, key: bytes) -> bytes:
    """Return the bytes of an index file.

    Args:
        index: The index.
        key: What it was made for.
    """
    listing = index.listing
    columns = {
        "fingerprint": np.frombuffer(bytes.fromhex(index.fingerprint), np.uint8),
        "labels": listing.labels.astype("<u4"),
        "sample_ids": listing.sample_ids.astype("<u8"),
        "content_ids": listing.content_ids.astype("<u8"),
        "times": listing.times.astype("<i8"),
        "class_folder_rows": np.array(
            [[(part.start, part.stop) for part in parts] for parts in index.class_folders.values()],
            "<i8",
        ),
    }
    tables = {
        "paths": listing.paths,
        "places": listing.places,
        "class_names": PathTable.of([os.fsencode(name) for name in index.class_names]),
        "class_folders": PathTable.of([os.fsencode(name) for name in index.class_folders]),
    }
    for name, table in tables.items():
        columns[name] = table.buffer
        columns[f"{name}_lengths"] = table.lengths.astype("<u4")
    archive = io.BytesIO()
    np.savez(archive, allow_pickle=False, **columns)
    body = len(key).to_bytes(LENGTH_BYTES, "little") + key + archive.getvalue()
    return MAGIC + hashlib.sha256(body).digest() + body


def decode_index(data: bytes, key: bytes) -> FolderIndex:
    """Return the index in a file's bytes.

    Args:
        data: The bytes.
        key: What it should have been made for.

    Raises:
        DamagedIndexError: If the bytes are not those of an index file, or it is of other data.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise DamagedIndexError(NO_INDEX)
    checked = memoryview(data)[len(MAGIC) + DIGEST_BYTES :]
    if hashlib.sha256(checked).digest() != data[len(MAGIC) : len(MAGIC) + DIGEST_BYTES]:
        raise DamagedIndexError("it has changed since it was written")
    columns_at = LENGTH_BYTES + int.from_bytes(checked[:LENGTH_BYTES], "little")
    if checked[LENGTH_BYTES:columns_at] != key:
        raise DamagedIndexError("it was made for other data")
    try:
        with np.load(io.BytesIO(checked[columns_at:]), allow_pickle=False) as columns:
            return _index(columns)
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DamagedIndexError(f"it has other columns than this version's: {error}") from error


def _index(columns: Mapping[str, NDArray[Any]]) -> FolderIndex:
    def table(name: str) -> PathTable:
        return PathTable.of_lengths(columns[name], columns[f"{name}_lengths"])

    def names(name: str) -> list[str]:
        entries = table(name)
        return [os.fsdecode(entries[row]) for row in range(len(entries))]

    listing = Listing(
        paths=table("paths"),
        labels=columns["labels"].astype(np.int64),
        sample_ids=columns["sample_ids"].astype(np.uint64),
        content_ids=columns["content_ids"].astype(np.uint64),
        places=table("places"),
        times=columns["times"].astype(np.int64),
    )
    rows = columns["class_folder_rows"].reshape(-1, 2, 2).tolist()
    slices = [(slice(*files), slice(*places)) for files, places in rows]
    return FolderIndex(
        class_names=tuple(names("class_names")),
        listing=listing,
        class_folders=dict(zip(names("class_folders"), slices, strict=True)),
        fingerprint=columns["fingerprint"].tobytes().hex(),
    )
