"""The resident map: one generation decoded into a flat file that all processes of a node share.

A random look-up through Zarr costs about a millisecond, a row of a memory-mapped file about one
microsecond. The page cache holds the file, so it works for any number of maps, and there is no
named shared memory that a killed process could leave behind.

Legend: N samples, h, w height and width of a map.
"""

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cache_store.errors import CacheNotFoundError, DamagedCacheError, ScaeError, StoreError
from cache_store.resident_claim import (
    CLAIM_SUFFIX,
    PARTIAL_SUFFIX,
    WAIT_SECONDS,
    claimed,
    is_left_behind,
    partial_path,
    sweep_left_behind,
)
from cache_store.resident_file import read_file, read_header, write_file

if TYPE_CHECKING:
    from cache_store.generation import Generation

DIRECTORY_VARIABLES = ("SCAE_RESIDENT_DIR", "SLURM_TMPDIR", "TMPDIR")
"""Environment variables that may name the folder, the first that is set."""
ATTEMPTS = 3
"""Times a file is made before a folder in which it vanishes again is given up."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ResidentMaps:
    """All maps of one generation, memory-mapped and read-only."""

    maps: NDArray[np.uint8]
    """(N, h, w) uint8, 255 = 1.0."""
    gains: NDArray[np.float32]
    """(N,) float32, 1 / (hi - lo) over the pixels of the whole image; 0 for a flat map."""
    floors: NDArray[np.float32]
    """(N,) float32, lo over the pixels of the whole image, in [0, 1]."""
    generation: int
    """Number of the generation."""
    digest: str
    """Digest of the generation."""
    size: int
    """Side in pixels of the image that gains and floors are for."""
    path: Path
    """The file."""

    def __len__(self) -> int:
        return len(self.maps)


@dataclass(frozen=True, kw_only=True, slots=True)
class ResidentGcReport:
    """What was removed of a node's resident files, or would be."""

    removed: tuple[Path, ...]
    """Files removed."""
    held: dict[Path, str]
    """File -> why it stays."""
    freed_bytes: int
    """Bytes of the files removed."""
    dry_run: bool
    """Whether nothing was removed in fact."""


def resident_folder(directory: str | Path | None = None) -> Path:
    """Return this user's folder for resident maps, made with mode 0700 if it is not there.

    Raises:
        StoreError: If the folder can't be made or belongs to somebody else.
    """
    named = [value for name in DIRECTORY_VARIABLES if (value := os.environ.get(name))]
    base = Path(directory) if directory else Path([*named, tempfile.gettempdir()][0])
    folder = base / f"scae-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat(follow_symlinks=False)
    except OSError as error:
        raise StoreError(
            f"can't make folder {folder} for resident maps: {error.strerror}; "
            "set SCAE_RESIDENT_DIR to another"
        ) from error
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
        raise StoreError(f"{folder} is not a folder of this user: set SCAE_RESIDENT_DIR to another")
    return folder


def open_resident(
    generation: "Generation",
    directory: str | Path | None = None,
    *,
    wait_seconds: float = WAIT_SECONDS,
) -> ResidentMaps:
    """Open a generation's resident file, writing it first if it is not there.

    Of several processes one writes and the others wait for it; what killed ones left behind is
    swept away and taken over.

    Args:
        generation: The generation.
        directory: Folder for the file, see `resident_folder`.
        wait_seconds: Longest wait for a live process that is writing the file.

    Raises:
        DamagedCacheError: If the cache's objects have changed since publication.
        StoreError: If the file can't be written.
    """
    path = resident_folder(directory) / f"{generation.digest[:40]}.maps"
    for _ in range(ATTEMPTS):
        found = _open(path, generation)
        if found is not None:
            return found
        _make(path, generation, wait_seconds)
    found = _open(path, generation)
    if found is None:
        raise StoreError(
            f"resident maps {path} vanish or change right after they are written: "
            "set SCAE_RESIDENT_DIR to another folder"
        )
    return found


def collect_resident(
    directory: str | Path | None = None, *, dry_run: bool = False
) -> ResidentGcReport:
    """Remove this user's resident files of generations that no longer exist, and leftovers.

    A file that a process still has open stays readable for it; one removed too early is made anew.

    Args:
        directory: Folder of the files, see `resident_folder`.
        dry_run: Report only.
    """
    removed: list[Path] = []
    held: dict[Path, str] = {}
    freed = 0
    for path in sorted(resident_folder(directory).iterdir()):
        reason = _reason_to_stay(path)
        if reason is not None:
            held[path] = reason
            continue
        try:
            length = path.stat().st_size
            if not dry_run:
                path.unlink()
        except FileNotFoundError:  # somebody else was faster
            continue
        freed += length
        removed.append(path)
    return ResidentGcReport(removed=tuple(removed), held=held, freed_bytes=freed, dry_run=dry_run)


def _reason_to_stay(path: Path) -> str | None:
    if path.name.endswith((CLAIM_SUFFIX, PARTIAL_SUFFIX)):
        return None if is_left_behind(path) else "being written"
    if path.suffix != ".maps":
        return "not a file of resident maps"
    try:
        header = read_header(path)
    except (DamagedCacheError, FileNotFoundError):
        return None
    number, url = header["generation"], header["url"]
    if not url:
        return "its cache is not known"
    try:
        digest = _published_digest(url, number)
    except (ScaeError, OSError) as error:
        return f"its cache can't be read: {error}"
    return f"generation {number} of {url}" if digest == header["digest"] else None


def _published_digest(url: str, number: int) -> str | None:
    from cache_store.store import SaliencyStore  # it imports this module

    try:
        return SaliencyStore.open(url).generation(number).digest
    except CacheNotFoundError:
        return None


def _make(path: Path, generation: "Generation", wait_seconds: float) -> None:
    try:
        with claimed(path, path.exists, wait_seconds) as to_do:
            if to_do:
                sweep_left_behind(path.parent)
                _write(path, generation)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(
            f"can't write resident maps {path}: {error.strerror or error}; "
            "set SCAE_RESIDENT_DIR to a folder with room"
        ) from error


def _write(path: Path, generation: "Generation") -> None:
    partial = partial_path(path)
    try:
        write_file(partial, generation)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _open(path: Path, generation: "Generation") -> ResidentMaps | None:
    try:
        maps_Nhw, gains_N, floors_N = read_file(path, generation)
    except FileNotFoundError:
        return None
    except DamagedCacheError:
        path.unlink(missing_ok=True)  # a leftover that is not what its name says: made anew
        return None
    return ResidentMaps(
        maps=maps_Nhw,
        gains=gains_N,
        floors=floors_N,
        generation=generation.number,
        digest=generation.digest,
        size=generation.provenance.size,
        path=path,
    )
