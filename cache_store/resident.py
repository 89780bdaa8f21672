"""The resident map: one generation decoded into a flat file that all processes of a node share.

A random look-up through Zarr costs about a millisecond, a row of a memory-mapped file about one
microsecond. The page cache holds the file, so it works for any number of maps, and there is no
named shared memory that a killed process could leave behind.

Legend: N samples, h, w height and width of a map.
"""

import os
import stat
import tempfile
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cache_store.errors import DamagedCacheError, StoreError
from cache_store.records import decode_record, encode_record

if TYPE_CHECKING:
    from cache_store.generation import Generation

MAGIC = b"SCAEMAPS"
HEADER_BYTES = 4096
"""Room for magic, header length and header; the maps begin on a page of their own."""
DIRECTORY_VARIABLES = ("SCAE_RESIDENT_DIR", "SLURM_TMPDIR", "TMPDIR")
"""Environment variables that may name the folder, the first that is set."""


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


def open_resident(generation: "Generation", directory: str | Path | None = None) -> ResidentMaps:
    """Open a generation's resident file, writing it first if it is not there.

    Raises:
        DamagedCacheError: If the cache's objects have changed since publication.
        StoreError: If the file can't be written.
    """
    path = resident_folder(directory) / f"{generation.digest[:40]}.maps"
    try:
        return _open(path, generation)
    except FileNotFoundError:
        pass
    except DamagedCacheError:
        path.unlink(missing_ok=True)  # a leftover that is not what its name says: made anew
    _write(path, generation)
    return _open(path, generation)


def _write(path: Path, generation: "Generation") -> None:
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("xb") as file:
            file.seek(HEADER_BYTES)
            checksum = 0
            for part in _parts(generation):
                data = np.ascontiguousarray(part).data.cast("B")
                checksum = zlib.crc32(data, checksum)
                file.write(data)
            header = encode_record(_header_fields(generation, checksum))
            file.seek(0)
            file.write(MAGIC + len(header).to_bytes(8, "little") + header)
        partial.replace(path)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(
            f"can't write resident maps {path}: {error.strerror}; "
            "set SCAE_RESIDENT_DIR to a folder with room"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _parts(generation: "Generation") -> Iterator[NDArray[Any]]:
    rows = generation.manifest.plan.block_rows
    for start in range(0, len(generation), rows):
        yield np.asarray(generation.saliency[start : start + rows])
    maps_bytes = len(generation) * int(np.prod(generation.manifest.plan.map_shape))
    yield np.zeros(-maps_bytes % 8, np.uint8)  # so that the columns are aligned
    yield generation.column("gain")
    yield generation.column("floor")


def _header_fields(generation: "Generation", checksum: int) -> dict[str, Any]:
    return {
        "generation": generation.number,
        "digest": generation.digest,
        "shape": [len(generation), *generation.manifest.plan.map_shape],
        "size": generation.provenance.size,
        "crc32": checksum,
    }


def _open(path: Path, generation: "Generation") -> ResidentMaps:
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    header_length = int.from_bytes(start[8:16], "little")
    if start[:8] != MAGIC or header_length > HEADER_BYTES - 16:
        raise DamagedCacheError(f"{path} is not a file of resident maps")
    header = decode_record(start[16 : 16 + header_length], str(path))
    num, height, width = header["shape"]
    maps_bytes = num * height * width
    columns_at = HEADER_BYTES + maps_bytes + -maps_bytes % 8
    if header["digest"] != generation.digest or path.stat().st_size != columns_at + 8 * num:
        raise DamagedCacheError(f"{path} does not hold generation {generation.number}")
    whole = np.memmap(path, np.uint8, mode="r")
    if zlib.crc32(whole[HEADER_BYTES:].data) != header["crc32"]:
        raise DamagedCacheError(f"{path} has changed since it was written")
    columns = whole[columns_at:].view("<f4").reshape(2, num)
    return ResidentMaps(
        maps=whole[HEADER_BYTES : HEADER_BYTES + maps_bytes].reshape(num, height, width),
        gains=columns[0],
        floors=columns[1],
        generation=header["generation"],
        digest=header["digest"],
        size=header["size"],
        path=path,
    )
