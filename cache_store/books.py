"""The bookkeeping of a cache, read with suspicion: which records are there, right, or wrong."""

import json
from dataclasses import dataclass, field
from typing import Any

from cache_store.backend import Backend
from cache_store.collect import is_tombstone
from cache_store.errors import DamagedCacheError
from cache_store.layout import (
    IDENTITY,
    MANIFESTS,
    PLANS,
    PUBLISHED,
    ROOT_METADATA,
    manifest_key,
    number_name,
    plan_key,
    published_key,
    receipts_key,
    record_number,
)
from cache_store.leases import LEASES, is_condemned
from cache_store.manifest import Manifest
from cache_store.records import Record, canonical_json, decode_record, sha256

_IDENTITY_FIELDS = {"num_samples", "fingerprint", "data", "rows"}


@dataclass(slots=True)
class Books:
    """What the records of a cache say, and which of them can't be believed."""

    all_published: tuple[int, ...] = ()
    """Numbers that have a pointer record, or had one."""
    published: tuple[int, ...] = ()
    """Those of them that were asked for."""
    manifests: dict[int, Manifest] = field(default_factory=dict)
    """Number -> manifest of each of these whose manifest is right."""
    identity: Record | None = None
    """The identity record, None if it is damaged."""
    damaged: dict[str, str] = field(default_factory=dict)
    """Key -> what is wrong, of each record that is missing or has changed."""
    known: set[str] = field(default_factory=set)
    """Keys of all records, right or wrong."""
    late_pointers: set[str] = field(default_factory=set)
    """Keys of pointers that a publisher wrote after its generation had been collected."""
    lost_pointers: set[int] = field(default_factory=set)
    """Published generations whose pointer record is gone."""
    is_cache: bool = False
    """Whether anything here was ever a cache."""

    def still_published(self, backend: Backend, number: int) -> bool:
        """Tell whether nobody has collected a generation since the books were read."""
        return number in self.lost_pointers or backend.length(published_key(number)) is not None


class _Reader:
    """Reads records into the books and notes there what is wrong with them."""

    def __init__(self, backend: Backend, books: Books) -> None:
        self.backend = backend
        self.books = books

    def generation(self, number: int) -> None:
        """Read pointer, manifest and plan of a published generation."""
        pointer = self.record(published_key(number), number)
        manifest = self.manifest(number)
        plan = self.record(plan_key(number), number)
        for key, fields, names in (
            (published_key(number), pointer, {"digest", "manifest_sha256"}),
            (plan_key(number), plan, {"plan", "writer", "claimed_at"}),
        ):
            if fields is not None and not fields.keys() >= names:
                self._wrong(key, "is another record than its name says")
        if manifest is None:
            return
        if pointer is not None and not pointer_fields(manifest).items() <= pointer.items():
            self._wrong(published_key(number), f"does not belong to {manifest_key(number)}")
        if plan is not None and plan.get("plan") != manifest.plan.as_dict():
            self._wrong(plan_key(number), f"is not the plan in {manifest_key(number)}")
        self.books.manifests[number] = manifest

    def manifest(self, number: int, *, optional: bool = False) -> Manifest | None:
        """Return a generation's manifest, None (and a note in the books) if it is damaged."""
        key = manifest_key(number)
        data = self._read(key, number, optional=optional)
        if data is None or is_tombstone(data):
            return None
        try:
            return Manifest.decode(data, f"{self.backend.url}/{key}")
        except DamagedCacheError:
            self._wrong(key, "is not a manifest")
            return None

    def identity(self) -> None:
        """Read the record that claims the place for one data set."""
        fields = self.record(IDENTITY)
        if fields is not None and not fields.keys() >= _IDENTITY_FIELDS:
            self._wrong(IDENTITY, "is not an identity")
            return
        self.books.identity = fields

    def record(
        self, key: str, number: int | None = None, *, optional: bool = False
    ) -> Record | None:
        """Return a record's fields, None (and a note in the books) if it is damaged."""
        data = self._read(key, number, optional=optional)
        return None if data is None else decode_record(data, key)

    def _read(self, key: str, number: int | None, *, optional: bool) -> bytes | None:
        self.books.known.add(key)
        data = self.backend.read(key)
        if data is None and optional:
            return None
        if data is None:
            self._wrong(key, "is missing")
            return None
        try:
            fields = decode_record(data, f"{self.backend.url}/{key}")
        except DamagedCacheError as error:
            self.books.damaged[key] = str(error)
            return None
        if canonical_json(json.loads(data)) != data:
            self._wrong(key, "has changed: it is not as it was written")
            return None
        if number is not None and fields.get("generation") != number:
            said = fields.get("generation")
            self._wrong(key, f"is the record of generation {said!r}, not {number}")
            return None
        return data

    def _wrong(self, key: str, why: str) -> None:
        self.books.damaged[key] = f"record {key} of {self.backend.url} {why}"


def pointer_fields(manifest: Manifest) -> dict[str, Any]:
    """Return what a generation's pointer record says, which the manifest decides."""
    return {
        "generation": manifest.generation,
        "digest": manifest.digest,
        "manifest_sha256": sha256(manifest.encode()),
    }


def read_books(backend: Backend, there: set[str], asked: set[int] | None = None) -> Books:
    """Read all records of a cache.

    Args:
        backend: The cache.
        there: Keys of all its objects.
        asked: Generations to read, None for all.

    Raises:
        CacheFormatError: If a newer version of the software wrote one of them.
    """
    books = Books()
    reader = _Reader(backend, books)
    numbers = {folder: _numbers(there, folder) for folder in (PUBLISHED, MANIFESTS, PLANS)}
    buried = {n for n in numbers[MANIFESTS] if is_tombstone(backend.read(manifest_key(n)))}
    books.late_pointers = {published_key(n) for n in numbers[PUBLISHED] & buried}
    without_pointer = numbers[MANIFESTS] - numbers[PUBLISHED] - buried
    books.lost_pointers = {n for n in without_pointer if _pointer_lost(backend, there, n)}
    books.all_published = tuple(sorted((numbers[PUBLISHED] - buried) | books.lost_pointers))
    books.published = tuple(n for n in books.all_published if asked is None or n in asked)
    books.is_cache = ROOT_METADATA in there or any(numbers.values())
    for number in books.published:
        reader.generation(number)
    if books.is_cache:
        reader.identity()
    if asked is None:
        _read_others(reader, there, numbers)
    return books


def _read_others(reader: _Reader, there: set[str], numbers: dict[str, set[int]]) -> None:
    """Read what belongs to no published generation; any of it may vanish at any moment."""
    published = set(reader.books.published)
    for number in sorted(numbers[PLANS] - published):
        reader.record(plan_key(number), number, optional=True)
    for number in sorted(numbers[MANIFESTS] - published):
        reader.manifest(number, optional=True)
    for key in sorted(key for key in there if key.startswith(f"{LEASES}/")):
        if key.endswith(".json"):
            reader.record(key, optional=True)


def _pointer_lost(backend: Backend, there: set[str], number: int) -> bool:
    """Tell a lost pointer from a publisher that stopped short of writing it.

    A publisher removes the receipts after it has written the pointer, and a collection marks the
    plan before it takes the pointer away.
    """
    if any(key.startswith(f"{receipts_key(number)}/") for key in there):
        return False
    gone = backend.length(published_key(number)) is None
    return gone and not is_condemned(backend, number) and _is_there(backend, manifest_key(number))


def _is_there(backend: Backend, key: str) -> bool:
    return backend.length(key) is not None


def _numbers(there: set[str], folder: str) -> set[int]:
    found = set()
    for key in there:
        number = record_number(key) if key.startswith(f"{folder}/") else None
        if number is not None and key == f"{folder}/{number_name(number)}.json":
            found.add(number)
    return found
