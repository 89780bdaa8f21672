"""Putting back what a cache's other objects decide: records, and the metadata of groups and arrays.

Legend: N samples, K classes.
"""

from collections.abc import Iterable
from typing import Any

from cache_store.arrays import (
    NUM_NEIGHBOURS,
    ArraySpec,
    encode_group,
    encode_metadata,
    neighbours_spec,
    probability_spec,
)
from cache_store.backend import Backend
from cache_store.books import Books, pointer_fields
from cache_store.errors import CacheFormatError
from cache_store.identity import Identity
from cache_store.layout import (
    GENERATIONS,
    IDENTITY,
    ROOT_METADATA,
    SAMPLES,
    generation_key,
    plan_key,
    published_key,
)
from cache_store.manifest import Manifest
from cache_store.records import encode_record, sha256
from cache_store.samples import SAMPLE_COLUMNS, read_samples, sample_spec


def array_specs(manifest: Manifest, num_classes: int) -> tuple[ArraySpec, ...]:
    """Describe all arrays that a generation reads: the maps, its own columns, the samples'."""
    number, num = manifest.generation, manifest.plan.num_samples
    group = generation_key(number)
    return (
        manifest.plan.saliency_spec(number),
        probability_spec(group, num),
        neighbours_spec(group, num_classes),
        *(sample_spec(name, num) for name in SAMPLE_COLUMNS),
    )


def num_classes_of(backend: Backend, manifest: Manifest) -> int:
    """Return K of a generation's nearest classes, told by the frame of the stored values.

    1 if that is damaged as well: whoever needs it has the data's own number.
    """
    key = f"{generation_key(manifest.generation)}/class_neighbours/c/0/0"
    data = backend.read(key) or b""
    # Blosc's frame says at byte 4 how long its content is: K rows of five int32.
    return max(1, int.from_bytes(data[4:8], "little") // (NUM_NEIGHBOURS * 4))


def metadata_objects(
    manifest: Manifest, num_classes: int, identities: Iterable[dict[str, Any]]
) -> dict[str, list[bytes]]:
    """Return key -> what it may have held, for all metadata of one generation."""
    group = generation_key(manifest.generation)
    plan = manifest.plan.as_dict()
    found = {
        spec.metadata_key: [encode_metadata(spec)] for spec in array_specs(manifest, num_classes)
    }
    found[f"{group}/zarr.json"] = [encode_group({"scae": plan})]
    found[f"{GENERATIONS}/zarr.json"] = found[f"{SAMPLES}/zarr.json"] = [encode_group({})]
    found[ROOT_METADATA] = [encode_group({"scae": identity}) for identity in identities]
    return found


def possible_identities(manifest: Manifest, books: Books) -> list[dict[str, Any]]:
    """Return what the root's attributes may have said, told by records that are right."""
    if books.identity is not None:
        record = books.identity
        # In the order in which the root's metadata was written.
        names = ("format_version", "num_samples", "fingerprint", "data", "deep")
        return [{name: record[name] for name in names if name in record}]
    made_from = manifest.plan.provenance
    known = Identity(
        num_samples=manifest.plan.num_samples,
        fingerprint=made_from.fingerprint,
        data=made_from.data,
    ).as_dict()
    older = {name: value for name, value in known.items() if name != "deep"}
    return [known, {**known, "deep": True}, older]


def mend_metadata(
    backend: Backend, manifest: Manifest, damaged: set[str], books: Books
) -> set[str]:
    """Write damaged metadata of a generation anew; return the keys that are right now.

    Nothing is written but what the manifest lists, to the bit.
    """
    mended = set()
    candidates = metadata_objects(
        manifest, num_classes_of(backend, manifest), possible_identities(manifest, books)
    )
    for key in damaged & candidates.keys() & manifest.objects.keys():
        if any(put_listed(backend, manifest, key, data) for data in candidates[key]):
            mended.add(key)
    return mended


def put_listed(backend: Backend, manifest: Manifest, key: str, data: bytes) -> bool:
    """Write an object if these are the very bytes that the manifest lists; tell whether."""
    if manifest.objects[key] != (len(data), sha256(data)):
        return False
    backend.write(key, data)
    return True


def mend_records(backend: Backend, books: Books, damaged: set[str]) -> set[str]:
    """Write damaged pointers, plans and the identity anew from what is right.

    Returns:
        The keys that are right now.
    """
    mended = set()
    for number, manifest in books.manifests.items():
        if published_key(number) in damaged:
            backend.write(published_key(number), encode_record(pointer_fields(manifest)))
            mended.add(published_key(number))
        if plan_key(number) in damaged:
            # When the number was claimed is not known any more; nobody asks.
            plan = {
                "generation": number,
                "plan": manifest.plan.as_dict(),
                "writer": manifest.writer,
                "claimed_at": manifest.published_at,
            }
            backend.write(plan_key(number), encode_record(plan))
            mended.add(plan_key(number))
    return mended


def mend_identity(backend: Backend) -> bool:
    """Write the identity record anew from the root's metadata and the samples' ids."""
    try:
        identity = Identity.decode(backend.read(ROOT_METADATA) or b"", backend.url)
        ids_N = read_samples(backend, "sample_id", identity.num_samples)
    except (CacheFormatError, FileNotFoundError):
        return False
    rows = sha256(ids_N.astype("<u8").tobytes())
    backend.write(IDENTITY, encode_record({**identity.as_dict(), "rows": rows}))
    return True
