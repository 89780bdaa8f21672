"""What is stored once a sample, for all generations: ids, hashes of contents, labels.

Legend: N samples.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_store.arrays import (
    ArraySpec,
    column_spec,
    decode_object,
    encode_group,
    encode_metadata,
    encode_object,
)
from cache_store.backend import Backend, require
from cache_store.layout import SAMPLES

SAMPLE_COLUMNS = {
    "sample_id": ("uint64", "hash of the sample's path or index, and its label"),
    "content_id": ("uint32", "hash of what is known of the image's content"),
    "label": ("int32", "class of the sample"),
}
"""Array name -> dtype and meaning of what is stored once a sample, for all generations."""


def sample_spec(name: str, num_samples: int) -> ArraySpec:
    """Describe one of the sample columns."""
    dtype, long_name = SAMPLE_COLUMNS[name]
    return column_spec(f"{SAMPLES}/{name}", num_samples, dtype, long_name)


def read_samples(backend: Backend, name: str, num_samples: int) -> NDArray[Any]:
    """Return a sample column, (N,) of its dtype, without checking it against a manifest."""
    spec = sample_spec(name, num_samples)
    parts = [
        decode_object(spec, number, require(backend, spec.object_key(number)))
        for number in range(spec.num_objects)
    ]
    return np.concatenate(parts)


def write_samples(backend: Backend, columns: dict[str, NDArray[Any]]) -> None:
    """Write the sample columns: a creator's work before the root's metadata."""
    backend.write(f"{SAMPLES}/zarr.json", encode_group({}))
    for name, values in columns.items():
        spec = sample_spec(name, len(values))
        backend.write(spec.metadata_key, encode_metadata(spec))
        for number in range(spec.num_objects):
            rows = values[number * spec.object_rows : (number + 1) * spec.object_rows]
            backend.write(spec.object_key(number), encode_object(spec, number, rows))
