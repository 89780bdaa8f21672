"""Objects as files of a local or network file system, by rename(2), link(2) and fsync(2) alone.

No lock files and no flock: these are node-local or missing on many network file systems, while
link(2) is an exclusive create that works on all of them.
"""

import builtins
import errno
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from cache_store.backend import Backend, ObjectInfo
from cache_store.errors import StoreError

PARTIAL_SUFFIX = ".partial"
"""Ending of a file that is still being written; readers and listings pass over it."""
TRIES = 20
"""Times a folder is made, or a file written, that somebody who cleans up takes away again."""


class LocalBackend(Backend):
    """Objects as files below a folder.

    Args:
        root: The folder; made at the first write.
        fsync: Whether file and folders are flushed to the disk before a write counts as done.
    """

    def __init__(self, root: Path, *, fsync: bool = True) -> None:
        self.root = root.absolute()
        self.url = str(self.root)
        self._fsync = fsync

    def read(self, key: str) -> bytes | None:
        """Return the file's bytes, None if there is no such file."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def length(self, key: str) -> int | None:
        """Return the file's size in bytes, None if there is no such file."""
        try:
            return self._path(key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, key: str, data: bytes) -> None:
        """Write through a unique sibling and rename it into place."""
        path = self._path(key)
        self._put(path, data, _replace)

    def create(self, key: str, data: bytes) -> bool:
        """Write through a unique sibling and claim the name with link(2).

        A network file system can report an error although the link was made, when the answer was
        lost and the request sent again. Then our file has two names, which nobody else can give it.

        Raises:
            StoreError: If the file system has no hard links, or can't be written.
        """
        path = self._path(key)
        return not path.exists() and self._put(path, data, _link)

    def delete(self, key: str) -> None:
        """Remove the file and the folders that this leaves empty.

        A write that is about to put a file there makes its folder again.
        """
        path = self._path(key)
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == self.root:
                break
            try:
                folder.rmdir()
            except OSError:
                break

    def list(self, prefix: str) -> list[ObjectInfo]:
        """List the files below a folder; files still being written are left out."""
        start = self._path(prefix) if prefix else self.root
        found = [
            ObjectInfo(path.relative_to(self.root).as_posix(), status.st_size, status.st_mtime)
            for path, status in _walk(start)
            if not path.name.endswith(PARTIAL_SUFFIX)
        ]
        return sorted(found, key=lambda info: info.key)

    def leftovers(self) -> builtins.list[ObjectInfo]:
        """List the files of writes that were never finished."""
        return [
            ObjectInfo(path.relative_to(self.root).as_posix(), status.st_size, status.st_mtime)
            for path, status in _walk(self.root)
            if path.name.endswith(PARTIAL_SUFFIX)
        ]

    def now(self) -> float:
        """Return the file system's time: what it stamps on a file written just now."""
        probe = self._path(f"clock.{uuid.uuid4().hex}{PARTIAL_SUFFIX}")
        try:
            with self._new_file(probe) as file:
                file.write(b"?")
                file.flush()
                # Of the open file: a collection may have swept the name away already.
                return os.fstat(file.fileno()).st_mtime
        except OSError as error:
            raise _cant("write", probe, error) from error
        finally:
            probe.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.root / key

    def _put(self, path: Path, data: bytes, place: Callable[[Path, Path], bool]) -> bool:
        """Write a sibling and place it, once more where a collection took it for a leftover."""
        for _ in range(TRIES):
            partial = self._write_partial(path, data)
            try:
                placed = place(partial, path)
            except FileNotFoundError:
                continue
            finally:
                partial.unlink(missing_ok=True)
            if placed:
                self._sync_folder(path.parent)
            return placed
        raise StoreError(
            f"can't write {path}: others take it away again and again: stop what tidies up there"
        )

    def _write_partial(self, path: Path, data: bytes) -> Path:
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PARTIAL_SUFFIX}")
        try:
            with self._new_file(partial) as file:
                file.write(data)
                file.flush()
                if self._fsync:
                    os.fsync(file.fileno())
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise _cant("write", f"{path} ({len(data)} bytes)", error) from error
        return partial

    def _new_file(self, path: Path) -> BinaryIO:
        """Create a file; from then on its folder is not empty, so nobody takes it away any more."""
        for _ in range(TRIES):
            try:
                self._make_folder(path.parent)
                return path.open("xb")
            except FileNotFoundError:
                continue
        raise FileNotFoundError(errno.ENOENT, "its folder vanishes again and again", str(path))

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        missing = [folder, *(parent for parent in folder.parents if not parent.exists())]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError:  # a parent that was there is gone
            raise
        except OSError as error:
            raise _cant("make folder", folder, error) from error
        for made in missing:
            self._sync_folder(made.parent)

    def _sync_folder(self, folder: Path) -> None:
        if not self._fsync:
            return
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # what was put there is deleted already
            return
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace(partial: Path, path: Path) -> bool:
    try:
        partial.replace(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _cant("replace", path, error) from error
    return True


def _link(partial: Path, path: Path) -> bool:
    try:
        os.link(partial, path)
    except FileNotFoundError:
        raise
    except OSError as error:
        if partial.stat().st_nlink == 2:
            return True
        if isinstance(error, FileExistsError):
            return False
        raise StoreError(
            f"can't link {path}: {error.strerror}: the file system must have hard links"
        ) from error
    return True


def _cant(verb: str, thing: object, error: OSError) -> StoreError:
    cure = "make room or get the right to write there, or choose another --cache"
    return StoreError(f"can't {verb} {thing}: {error.strerror}; {cure}")


def _walk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
            continue
        try:
            yield Path(entry.path), entry.stat()
        except FileNotFoundError:  # removed between the listing and the stat
            continue
