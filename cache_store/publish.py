"""Publication: check every block, write the manifest, then the pointer: all of it or nothing.

The pointer is one small record a generation, created exclusively; the latest generation is the
highest number that has one. So it moves in one atomic step, on any store that can create a key
exclusively, and can never go back, however long a publisher stalls.

Legend: K classes.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from cache_store.arrays import (
    ArraySpec,
    decode_object,
    encode_metadata,
    encode_object,
    neighbours_spec,
    probability_spec,
)
from cache_store.errors import (
    CacheFormatError,
    CacheNotFoundError,
    DamagedCacheError,
    PublishConflictError,
    StoreError,
)
from cache_store.layout import (
    GENERATIONS,
    PUBLISHED,
    ROOT_METADATA,
    SAMPLES,
    generation_key,
    manifest_key,
    published_key,
    receipts_key,
    record_number,
)
from cache_store.manifest import Manifest, Objects, read_manifest
from cache_store.receipts import Receipt
from cache_store.records import encode_record, sha256
from cache_store.writer import GenerationWriter

logger = logging.getLogger("scae")


def publish_generation(
    writer: GenerationWriter,
    class_neighbours: NDArray[np.int32],
    group_metadata: bytes,
    notes: Mapping[str, float],
) -> Manifest:
    """Make a finished generation visible, or find that somebody just did.

    Args:
        writer: The generation; every block must have a valid receipt.
        class_neighbours: (K, 5) int32, nearest classes first, -1 for none.
        group_metadata: Bytes of the generation's `zarr.json`.
        notes: For the manifest.

    Raises:
        StoreError: If blocks are missing.
        PublishConflictError: If the number was published from another plan.
    """
    backend, number = writer.backend, writer.number
    receipts = _complete_receipts(writer)
    if receipts is not None:
        objects = _shared_objects(writer)
        objects |= _shard_objects(writer, receipts)
        objects |= _write_arrays(writer, receipts, class_neighbours, group_metadata)
        manifest = Manifest(
            generation=number,
            plan=writer.plan,
            objects=objects,
            skipped=tuple(row for block in sorted(receipts) for row in receipts[block].skipped),
            num_flat=sum(receipt.num_flat for receipt in receipts.values()),
            writer=writer.writer_id,
            software={name: version(name) for name in ("numcodecs", "numpy", "zarr")},
            published_at=datetime.now(UTC).isoformat(timespec="seconds"),
            notes=dict(notes),
        )
        # False: a twin working on the same plan was first; what it wrote is read back below.
        backend.create(manifest_key(number), manifest.encode())
    manifest = read_manifest(backend, number)
    if manifest.plan.digest() != writer.plan.digest():
        raise PublishConflictError(
            f"generation {number} of {backend.url} was published from another plan: refresh again"
        )
    _point_to(writer, manifest)
    for info in backend.list(receipts_key(number)):
        backend.delete(info.key)
    logger.debug("generation %d of %s is published", number, backend.url)
    return manifest


def _complete_receipts(writer: GenerationWriter) -> dict[int, Receipt] | None:
    """Return every block's receipt, None if the generation has its manifest already."""
    manifest = manifest_key(writer.number)
    if writer.backend.length(manifest) is not None:
        return None
    receipts = writer.receipts()
    missing = [block for block in range(writer.num_blocks) if block not in receipts]
    if missing and writer.backend.length(manifest) is not None:
        return None  # a twin has published meanwhile and has removed the receipts
    if missing:
        raise StoreError(
            f"generation {writer.number} of {writer.backend.url} can't be published: "
            f"{len(missing)} of {writer.num_blocks} blocks are missing, the first is {missing[0]}: "
            "run the refresh again"
        )
    return receipts


def _shared_objects(writer: GenerationWriter) -> Objects:
    keys = [ROOT_METADATA, f"{GENERATIONS}/zarr.json"]
    keys += [info.key for info in writer.backend.list(SAMPLES)]
    earlier = _earlier_objects(writer)
    objects: Objects = {}
    for key in keys:
        data = writer.backend.read(key)
        if data is None:
            raise DamagedCacheError(
                f"object {key} of {writer.backend.url} is missing: "
                f"run 'scae cache repair {writer.backend.url}'"
            )
        objects[key] = (len(data), sha256(data))
        if earlier.get(key, objects[key]) != objects[key]:
            raise DamagedCacheError(
                f"object {key} of {writer.backend.url} has changed since an earlier generation "
                f"was published: run 'scae cache repair {writer.backend.url}'"
            )
    return objects


def _earlier_objects(writer: GenerationWriter) -> Objects:
    """Return what the newest published manifest lists: shared objects must not have changed."""
    listed = (record_number(info.key) or 0 for info in writer.backend.list(PUBLISHED))
    for number in sorted(listed, reverse=True):
        try:
            return read_manifest(writer.backend, number).objects
        except CacheNotFoundError:  # collected meanwhile, or a tombstone's place
            continue
    return {}


def _shard_objects(writer: GenerationWriter, receipts: dict[int, Receipt]) -> Objects:
    objects = _put(writer, writer.spec.metadata_key, encode_metadata(writer.spec))
    for block, receipt in receipts.items():
        objects[writer.spec.object_key(block)] = (receipt.length, receipt.sha256)
    return objects


def _write_arrays(
    writer: GenerationWriter,
    receipts: dict[int, Receipt],
    class_neighbours: NDArray[np.int32],
    group_metadata: bytes,
) -> Objects:
    group = generation_key(writer.number)
    objects = _put(writer, f"{group}/zarr.json", group_metadata)
    probability_N = np.concatenate([receipts[block].probability for block in sorted(receipts)])
    objects |= write_array(writer, probability_spec(group, len(probability_N)), probability_N)
    return objects | write_array(
        writer, neighbours_spec(group, len(class_neighbours)), class_neighbours
    )


def write_array(writer: GenerationWriter, spec: ArraySpec, values: NDArray[np.generic]) -> Objects:
    """Write a whole array beside the maps and return its objects.

    What a twin has stored already stays, since its manifest may list it by now: on another kind of
    device its probabilities differ in a few bits. Only what can't be decoded is written again.
    """
    objects = _put(writer, spec.metadata_key, encode_metadata(spec))
    for number in range(spec.num_objects):
        rows = values[number * spec.object_rows : (number + 1) * spec.object_rows]
        objects |= _put(writer, spec.object_key(number), encode_object(spec, number, rows), spec)
    return objects


def _put(writer: GenerationWriter, key: str, data: bytes, spec: ArraySpec | None = None) -> Objects:
    if not writer.backend.create(key, data):
        stored = writer.backend.read(key)
        if stored is not None and spec is not None and _is_object(spec, key, stored):
            data = stored
        elif stored != data:
            writer.backend.write(key, data)
    return {key: (len(data), sha256(data))}


def _is_object(spec: ArraySpec, key: str, data: bytes) -> bool:
    numbers = {spec.object_key(number): number for number in range(spec.num_objects)}
    try:
        decode_object(spec, numbers[key], data)
    except CacheFormatError:
        return False
    return True


def _point_to(writer: GenerationWriter, manifest: Manifest) -> None:
    backend, number = writer.backend, writer.number
    pointer = encode_record(
        {
            "generation": number,
            "digest": manifest.digest,
            "manifest_sha256": sha256(manifest.encode()),
        }
    )
    # A twin that was first has written the very same bytes.
    backend.create(published_key(number), pointer)
