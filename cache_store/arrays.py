"""The arrays of a cache: their Zarr v3 metadata, and rows encoded to the bytes of whole objects.

Objects are encoded in memory and handed to the backend, which writes them whole: Zarr itself never
touches the cache, so no chunk is ever read, changed and written back.

Legend: N samples, h, w height and width of a map, K classes.
"""

from dataclasses import dataclass, field
from typing import Any

import numcodecs.blosc
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCname, BloscCodec, BloscShuffle, BytesCodec, Crc32cCodec
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import MemoryStore

from cache_store.errors import CacheFormatError

DEFAULT_BLOCK_ROWS = 1024
"""Rows of a saliency shard: what one task owns and writes whole."""
DEFAULT_CHUNK_ROWS = 256
"""Rows of a chunk within a shard: what a foreign reader has to decode for one map."""
COLUMN_ROWS = 65_536
"""Rows of a chunk of the one-number-a-sample arrays."""
NUM_NEIGHBOURS = 5
"""Nearest classes listed for each class."""

# Blosc's own threads are unsafe after fork and fight with Dask's: one thread, fixed here for all.
numcodecs.blosc.use_threads = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ArraySpec:
    """One Zarr array: everything that its metadata says."""

    name: str
    """Path of the array below the cache's root."""
    shape: tuple[int, ...]
    """Shape; the first axis is cut into objects."""
    dtype: str
    """NumPy dtype name."""
    object_rows: int
    """Rows of one stored object (a shard, or a chunk where there are no shards)."""
    chunk_rows: int | None = None
    """Rows of a chunk within a shard, None for arrays without shards."""
    dimension_names: tuple[str, ...] = ()
    """Names of the axes, for xarray."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """User attributes."""

    @property
    def num_objects(self) -> int:
        """Number of objects the rows are cut into."""
        return -(-self.shape[0] // self.object_rows)

    def object_key(self, number: int) -> str:
        """Return the key of one object."""
        return "/".join([self.name, "c", str(number), *("0" for _ in self.shape[1:])])

    @property
    def metadata_key(self) -> str:
        """Key of the array's metadata."""
        return f"{self.name}/zarr.json"


def saliency_spec(
    group: str, num_samples: int, map_shape: tuple[int, int], block_rows: int, chunk_rows: int
) -> ArraySpec:
    """Describe a generation's maps, (N, h, w) uint8, 255 = 1.0 by the CF attributes."""
    if chunk_rows < 1 or block_rows < 1 or block_rows % chunk_rows:
        raise CacheFormatError(
            f"block_rows must be a positive multiple of chunk_rows {chunk_rows}, got {block_rows}"
        )
    return ArraySpec(
        name=f"{group}/saliency",
        shape=(num_samples, *map_shape),
        dtype="uint8",
        object_rows=block_rows,
        chunk_rows=chunk_rows,
        dimension_names=("sample", "y", "x"),
        attributes={
            "scale_factor": 1 / 255,
            "add_offset": 0.0,
            "long_name": "Grad-CAM saliency of the sample's label, divided by the map's maximum",
        },
    )


def column_spec(name: str, num_samples: int, dtype: str, long_name: str) -> ArraySpec:
    """Describe an array of one number a sample."""
    return ArraySpec(
        name=name,
        shape=(num_samples,),
        dtype=dtype,
        object_rows=min(COLUMN_ROWS, num_samples),
        dimension_names=("sample",),
        attributes={"long_name": long_name},
    )


def probability_spec(group: str, num_samples: int) -> ArraySpec:
    """Describe the probabilities of a generation's samples, (N,) float16."""
    long_name = "the network's softmax probability of the sample's label"
    return column_spec(f"{group}/probability", num_samples, "float16", long_name)


def neighbours_spec(group: str, num_classes: int) -> ArraySpec:
    """Describe a generation's nearest classes, (K, 5) int32, -1 where there are fewer."""
    return ArraySpec(
        name=f"{group}/class_neighbours",
        shape=(num_classes, NUM_NEIGHBOURS),
        dtype="int32",
        object_rows=num_classes,
        dimension_names=("class", "rank"),
        attributes={"long_name": "nearest classes by cosine, nearest first, -1 for none"},
    )


def encode_metadata(spec: ArraySpec) -> bytes:
    """Return the bytes of the array's `zarr.json`."""
    objects, _ = _create(spec)
    return objects[spec.metadata_key].to_bytes()


def encode_object(spec: ArraySpec, number: int, rows: NDArray[Any]) -> bytes:
    """Return the bytes of one object.

    Args:
        spec: The array.
        number: Which object along the first axis.
        rows: All of that object's rows, of the array's dtype.

    Raises:
        CacheFormatError: If the rows have another shape or dtype than that object's.
    """
    start = number * spec.object_rows
    stop = min(start + spec.object_rows, spec.shape[0])
    expected = (stop - start, *spec.shape[1:])
    if rows.shape != expected or rows.dtype != np.dtype(spec.dtype):
        raise CacheFormatError(
            f"object {number} of {spec.name} must be {expected} {spec.dtype}, "
            f"got {rows.shape} {rows.dtype}"
        )
    objects, array = _create(spec)
    array[start:stop] = rows
    return objects[spec.object_key(number)].to_bytes()


def encode_group(attributes: dict[str, Any]) -> bytes:
    """Return the bytes of a group's `zarr.json`."""
    objects: dict[str, Buffer] = {}
    zarr.create_group(MemoryStore(objects), attributes=attributes, zarr_format=3)
    return objects["zarr.json"].to_bytes()


def decode_object(spec: ArraySpec, number: int, data: bytes) -> NDArray[Any]:
    """Return one object's rows from its bytes.

    Raises:
        CacheFormatError: If the bytes are not such an object.
    """
    objects, array = _create(spec)
    objects[spec.object_key(number)] = default_buffer_prototype().buffer.from_bytes(data)
    start = number * spec.object_rows
    try:
        rows: NDArray[Any] = np.asarray(array[start : start + spec.object_rows])
    except (ValueError, RuntimeError) as error:  # crc32c mismatch, short shard, broken blosc frame
        raise CacheFormatError(f"{spec.object_key(number)} can't be decoded: {error}") from error
    return rows


def _create(spec: ArraySpec) -> tuple[dict[str, Buffer], zarr.Array[Any]]:
    objects: dict[str, Buffer] = {}
    tail = spec.shape[1:]
    chunk_rows = spec.chunk_rows or spec.object_rows
    array = zarr.create_array(
        MemoryStore(objects),
        name=spec.name,
        shape=spec.shape,
        dtype=spec.dtype,
        chunks=(chunk_rows, *tail),
        shards=None if spec.chunk_rows is None else (spec.object_rows, *tail),
        serializer=BytesCodec(),
        compressors=[_blosc(np.dtype(spec.dtype).itemsize), Crc32cCodec()],
        fill_value=0,
        zarr_format=3,
        attributes=spec.attributes,
        dimension_names=spec.dimension_names,
        # An object whose rows are all zero is data as well: only a missing one is an error.
        config={"write_empty_chunks": True},
    )
    return objects, array


def _blosc(itemsize: int) -> BloscCodec:
    shuffle = BloscShuffle.noshuffle if itemsize == 1 else BloscShuffle.shuffle
    return BloscCodec(typesize=itemsize, cname=BloscCname.zstd, clevel=5, shuffle=shuffle)
