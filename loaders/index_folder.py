"""Where index files live, and what becomes of them when folders or files change.

A data set's own folder is often shared and read-only, so an index belongs to the user who made it:
`$SCAE_INDEX_DIR`, else `$XDG_CACHE_HOME/scae/indexes`, else `~/.cache/scae/indexes`.
"""

import hashlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cache_store.resident_claim import partial_path, sweep_left_behind
from loaders.folder_index import FolderIndex
from loaders.index_file import DamagedIndexError, decode_index, encode_index, encode_key, read_base

__all__ = ["FOLDER_VARIABLE", "IndexPlace"]

FOLDER_VARIABLE = "SCAE_INDEX_DIR"
"""Environment variable that names the folder of index files."""

OFF = "off"
"""Its value for no index files at all: every start lists every folder."""

KEPT_SECONDS = 86_400.0
"""Age from which the index of data that is not there any more is removed. Another machine may have
that data, in a folder of its own, under the same home folder."""

_WARNED: set[Path] = set()
"""Folders that this process has told to be not writable."""

logger = logging.getLogger("scae")


class IndexPlace:
    """The file that the index of one data set is kept in.

    Args:
        base: Folder that the index's paths are relative to.
        made_by: What else decides what the index holds.
    """

    def __init__(self, base: Path, made_by: Sequence[str | int | None]) -> None:
        self.base = os.path.realpath(base)
        self.key = encode_key(self.base, made_by)
        folder = _index_folder()
        name = f"{hashlib.blake2b(self.key, digest_size=16).hexdigest()}.index"
        self.path = None if folder is None else folder / name

    def index(self, make: Callable[[FolderIndex | None], FolderIndex]) -> FolderIndex:
        """Return the index, by as little listing as is needed, and keep it for the next start.

        Args:
            make: Given an earlier index, returns that index itself if it still holds, else a new
                one.
        """
        known = None if self.path is None else _read(self.path, self.key)
        index = make(known)
        how = "still holds" if index is known else "was made by listing"
        logger.debug("the index of %s %s", self.base, how)
        if self.path is not None and index is not known:
            _write(self.path, encode_index(index, self.key))
        return index

    def forget(self) -> str:
        """Remove the file, so that the next start lists all folders.

        Returns:
            "", or what has to be done where the file can't be removed.
        """
        if self.path is None:
            return ""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            return f"remove its index {self.path}, which can't be removed here: {error.strerror}"
        return ""


def _index_folder() -> Path | None:
    """Return the folder of index files, None where there shall be none or no home is known."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return None if named == OFF else Path(named).absolute()
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():  # the XDG rules ignore such a one
        cache = Path(os.path.expanduser("~"), ".cache")  # noqa: PTH111  # pathlib's raises
    return cache / "scae" / "indexes" if cache.is_absolute() else None


def _read(path: Path, key: bytes) -> FolderIndex | None:
    try:
        return decode_index(path.read_bytes(), key)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, DamagedIndexError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        logger.warning("index %s is not used: %s; the data is listed anew", path, reason)
        return None


def _write(path: Path, content: bytes) -> None:
    """Write the file whole or not at all; others may be at it too, with the same content."""
    folder = path.parent
    partial = partial_path(path)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(folder)
        try:
            partial.write_bytes(content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        if folder not in _WARNED:
            _WARNED.add(folder)
            logger.warning(
                "no index can be written to %s (%s): every start lists all folders; name another "
                "folder in %s, or %r for none",
                *(folder, error.strerror or error, FOLDER_VARIABLE, OFF),
            )


def _sweep(folder: Path) -> None:
    """Remove what killed processes left, and the indexes of data that is not there any more."""
    sweep_left_behind(folder)
    for path in folder.glob("*.index"):
        try:
            if time.time() - path.stat().st_mtime < KEPT_SECONDS:
                continue
            base = read_base(path)
        except (FileNotFoundError, DamagedIndexError):
            continue  # gone by now, or made anew when it is wanted
        if not Path(base).is_dir():
            path.unlink(missing_ok=True)
