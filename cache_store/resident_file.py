"""The bytes of a resident file: a header page, the maps, then gains and floors.

Shards are read, checked against the manifest and decoded by several threads at once, straight into
the mapped file: hashing and decompression leave Python's lock alone.

Legend: N samples, h, w height and width of a map, B rows of a shard.
"""

import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numcodecs.blosc
import numpy as np
from numpy.typing import NDArray

from cache_store.arrays import ArraySpec, decode_object, encode_metadata
from cache_store.errors import CacheFormatError, DamagedCacheError
from cache_store.gains import gains_and_floors
from cache_store.records import decode_record, encode_record

if TYPE_CHECKING:
    from cache_store.generation import Generation

MAGIC = b"SCAEMAP2"
HEADER_BYTES = 4096
"""Room for magic, header length and header; the maps begin on a page of their own."""
URL_BYTES = 3072
"""Longest cache URL kept in the header; a longer one is left out."""
PART_BYTES = 4 << 20
"""Bytes that are checksummed in one go by one thread."""
READ_THREADS = 8
"""Shards under way at once: a remote store answers slowly, two cores decode quickly."""
CRC_BYTES = 4
"""Length of the crc32c that ends each chunk and the index of a shard."""


def write_file(path: Path, generation: "Generation") -> None:
    """Decode a generation into a new file.

    Args:
        path: The file; it must not exist.
        generation: What to decode; each object is checked against the manifest.

    Raises:
        DamagedCacheError: If an object is missing or has changed.
        OSError: If there is no room, or the file can't be written.
    """
    num = len(generation)
    columns_at = _columns_at(num, generation.manifest.plan.map_shape)
    total = file_bytes(num, generation.manifest.plan.map_shape)
    with path.open("xb") as file:
        file.truncate(total)
        # Room is claimed first: a full disk is an error here, not a signal while maps are copied.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, total)
    whole = np.memmap(path, np.uint8, mode="r+", shape=(total,))
    shape = (num, *generation.manifest.plan.map_shape)
    maps_Nhw = whole[HEADER_BYTES : HEADER_BYTES + int(np.prod(shape))].reshape(shape)
    _decode_shards(generation, maps_Nhw, whole[columns_at:].view("<f4").reshape(2, num))
    fields = {
        "generation": generation.number,
        "digest": generation.digest,
        "shape": list(shape),
        "size": generation.provenance.size,
        "crc32": _checksum(whole),
        "url": generation.url if len(generation.url.encode()) <= URL_BYTES else "",
    }
    header = encode_record(fields)
    start = MAGIC + len(header).to_bytes(8, "little") + header
    whole[: len(start)] = np.frombuffer(start, np.uint8)


def file_bytes(num: int, map_shape: tuple[int, int]) -> int:
    """Return the size of the file of `num` maps of h x w."""
    return _columns_at(num, map_shape) + 8 * num


def read_header(path: Path) -> dict[str, Any]:
    """Return what a file says of itself: generation, digest, shape, size, crc32 and url.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedCacheError: If it is not a file of resident maps, or its header has changed.
    """
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    length = int.from_bytes(start[8:16], "little")
    if start[:8] != MAGIC or length > HEADER_BYTES - 16:
        raise DamagedCacheError(f"{path} is not a file of resident maps")
    return decode_record(start[16 : 16 + length], str(path))


def read_file(
    path: Path, generation: "Generation"
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Map a generation's file.

    Returns:
        Maps (N, h, w) uint8, gains (N,) float32 and floors (N,) float32, all read-only.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedCacheError: If it does not hold that generation, or has changed.
    """
    header = read_header(path)
    num, height, width = header["shape"]
    columns_at = _columns_at(num, (height, width))
    if header["digest"] != generation.digest or path.stat().st_size != columns_at + 8 * num:
        raise DamagedCacheError(f"{path} does not hold generation {generation.number}")
    whole = np.memmap(path, np.uint8, mode="r")
    if _checksum(whole) != header["crc32"]:
        raise DamagedCacheError(f"{path} has changed since it was written")
    maps_Nhw = whole[HEADER_BYTES : HEADER_BYTES + num * height * width]
    columns = whole[columns_at:].view("<f4").reshape(2, num)
    return maps_Nhw.reshape(num, height, width), columns[0], columns[1]


def decode_shard(spec: ArraySpec, number: int, data: bytes, rows_Bhw: NDArray[np.uint8]) -> None:
    """Decode one shard's maps; the bytes must have been checked against the manifest.

    Zarr's own way to the same rows takes about a millisecond a shard. This is a shard of the Zarr
    v3 specification as `arrays` writes it: blosc chunks, then an index of (offset, length) pairs,
    a crc32c behind each of them, which the manifest's SHA-256 makes superfluous.

    Args:
        spec: The maps' array.
        number: Which shard.
        data: Its bytes.
        rows_Bhw: (B, h, w) uint8, filled.

    Raises:
        CacheFormatError: If the bytes are not such a shard.
    """
    chunk_rows = spec.chunk_rows or spec.object_rows
    num_chunks = spec.object_rows // chunk_rows
    try:
        index = np.frombuffer(data[-16 * num_chunks - CRC_BYTES : -CRC_BYTES], "<u8")
        for chunk, (offset, length) in enumerate(index.reshape(num_chunks, 2).tolist()):
            target = rows_Bhw[chunk * chunk_rows : (chunk + 1) * chunk_rows]
            if len(target) == 0:
                break
            frame = memoryview(data)[offset : offset + length - CRC_BYTES]
            whole = len(target) == chunk_rows
            out = target if whole else np.empty((chunk_rows, *spec.shape[1:]), np.uint8)
            numcodecs.blosc.decompress(frame, out)
            if not whole:
                target[:] = out[: len(target)]
    except (ValueError, RuntimeError) as error:
        raise CacheFormatError(f"{spec.object_key(number)} can't be decoded: {error}") from error


def _decode_shards(
    generation: "Generation", maps_Nhw: NDArray[np.uint8], columns_2N: NDArray[np.float32]
) -> None:
    """Fill in the maps, and the gains and floors that follow from them."""
    size = generation.provenance.size
    spec = generation.manifest.plan.saliency_spec(generation.number)
    # Maps that another version laid out in another way are left to Zarr.
    plain = generation.read_object(spec.metadata_key) == encode_metadata(spec)

    def decode(number: int) -> None:
        part = slice(number * spec.object_rows, (number + 1) * spec.object_rows)
        rows_Bhw = maps_Nhw[part]
        data = generation.read_object(spec.object_key(number))
        if plain:
            decode_shard(spec, number, data, rows_Bhw)
        else:
            rows_Bhw[:] = decode_object(spec, number, data)
        columns_2N[:, part] = gains_and_floors(rows_Bhw, (size, size))

    _in_threads(decode, spec.num_objects)


def _checksum(whole: NDArray[np.uint8]) -> int:
    """Return a crc32 over the crc32 of each part, which threads can compute side by side."""
    size = len(whole) - HEADER_BYTES
    crcs = np.zeros(-(-size // PART_BYTES), "<u4")

    def check(part: int) -> None:
        start = HEADER_BYTES + part * PART_BYTES
        crcs[part] = zlib.crc32(whole[start : start + PART_BYTES].data)

    _in_threads(check, len(crcs))
    return zlib.crc32(crcs.tobytes())


def _in_threads(work: Callable[[int], None], count: int) -> None:
    if count == 1:
        work(0)
        return
    with ThreadPoolExecutor(min(READ_THREADS, count), "scae-resident") as pool:
        for _ in pool.map(work, range(count)):
            pass


def _columns_at(num: int, map_shape: tuple[int, int]) -> int:
    maps_bytes = num * map_shape[0] * map_shape[1]
    return HEADER_BYTES + maps_bytes + -maps_bytes % 8  # aligned, as the columns are mapped too
