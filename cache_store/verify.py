"""Checking a cache byte by byte: one generation against its manifest, or all that lies there."""

import json
import re
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cache_store.arrays import decode_object, encode_metadata
from cache_store.backend import Backend, open_backend, require
from cache_store.books import Books, read_books
from cache_store.errors import CacheFormatError, CacheNotFoundError, DamagedCacheError
from cache_store.identity import Identity
from cache_store.layout import (
    GENERATIONS,
    IDENTITY,
    MANIFESTS,
    PLANS,
    PUBLISHED,
    RECEIPTS,
    ROOT_METADATA,
    SAMPLES,
    generation_key,
    record_number,
)
from cache_store.manifest import Manifest
from cache_store.samples import SAMPLE_COLUMNS, sample_spec
from cache_store.zarr_view import check_object

DEFAULT_THREADS = 8
"""Objects read and hashed at the same time."""

_NUMBERED = re.compile(
    rf"(?:{GENERATIONS}|{RECEIPTS}|{PLANS}|{MANIFESTS}|{PUBLISHED})/(\d{{6,}})\b"
)
"""Keys that belong to one generation; the group is its number."""
_GENERATION_PARTS = re.compile(
    rf"{GENERATIONS}/\d{{6,}}/(zarr\.json|(saliency|probability|class_neighbours)/.+)"
)
"""What a writer may leave of a generation that was never finished."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyReport:
    """What a check of one generation found."""

    checked: int
    """Number of objects compared."""
    damaged: dict[str, str]
    """Key -> what is wrong, of each object that is missing or has changed."""
    foreign: tuple[str, ...]
    """Keys below the generation that the manifest does not list."""

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged and nothing foreign."""
        return not self.damaged and not self.foreign


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheReport:
    """What a check of a whole cache found: every object there is, or should be, in one place."""

    checked: int
    """Number of objects read and compared."""
    damaged: dict[str, str]
    """Key -> what is wrong, of each object or record that is missing or has changed."""
    foreign: tuple[str, ...]
    """Keys that no cache of this format has."""
    leftovers: tuple[str, ...]
    """Objects of unfinished generations, receipts, partial files: harmless, gc collects them."""
    unverifiable: tuple[str, ...]
    """Objects of generations whose own manifest is damaged, so nothing says what they should be."""

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged and nothing foreign; leftovers are no harm."""
        return not self.damaged and not self.foreign


def verify_generation(backend: Backend, manifest: Manifest) -> VerifyReport:
    """Read every object of a generation and compare it with the manifest."""
    damaged = _damaged_objects(backend, [manifest], threads=1)
    there = {info.key for info in backend.list(generation_key(manifest.generation))}
    foreign = tuple(sorted(there - set(manifest.objects)))
    return VerifyReport(checked=len(manifest.objects), damaged=damaged, foreign=foreign)


def verify_cache(
    url: str | Path,
    *,
    generations: Collection[int] | None = None,
    threads: int = DEFAULT_THREADS,
) -> CacheReport:
    """Account for every object of a cache, also while jobs read, write and collect it.

    Args:
        url: The cache.
        generations: Check these and what they share only; None checks all that lies there.
        threads: Objects read and hashed at the same time.

    Raises:
        CacheNotFoundError: If there is no cache, or no such generation.
        CacheFormatError: If a newer version of the software wrote it.
    """
    backend = open_backend(url)
    there = {info.key for info in backend.list("")}
    books = read_books(backend, there, None if generations is None else set(generations))
    if not books.is_cache:
        raise CacheNotFoundError(f"no cache at {backend.url}: make one with 'scae refresh'")
    _check_asked(backend, books, generations)
    damaged = dict(books.damaged)
    damaged |= _damaged_objects(backend, list(books.manifests.values()), threads)
    if not books.manifests:
        damaged |= _damaged_root(backend, books)
    collected = [n for n in books.published if not books.still_published(backend, n)]
    damaged = {key: why for key, why in damaged.items() if _number(key) not in collected}
    expected = {key for manifest in books.manifests.values() for key in manifest.objects}
    rest = [key for key in there - expected - books.known if _number(key) not in collected]
    if generations is not None:
        rest = [key for key in rest if _number(key) in generations]
    kinds = _sort_rest(rest, books)
    partials = [] if generations is not None else [info.key for info in backend.leftovers()]
    return CacheReport(
        checked=len(expected) + len(books.known & there),
        damaged=dict(sorted(damaged.items())),
        foreign=tuple(sorted(kinds["foreign"])),
        leftovers=tuple(sorted([*kinds["leftover"], *books.late_pointers, *partials])),
        unverifiable=tuple(sorted(kinds["unverifiable"])),
    )


def _damaged_objects(
    backend: Backend, manifests: Iterable[Manifest], threads: int
) -> dict[str, str]:
    """Return key -> what is wrong; what several generations share is read once."""
    wanted: dict[str, dict[str, tuple[int, str]]] = {}
    for manifest in manifests:
        for key, checksum in manifest.objects.items():
            wanted.setdefault(key, {})[checksum[1]] = checksum

    def check(key: str) -> str | None:
        data = backend.read(key)
        for checksum in wanted[key].values():
            try:
                check_object(key, data, {key: checksum}, backend.url)
            except DamagedCacheError as error:
                return str(error).removesuffix(f": run 'scae cache verify {backend.url}'")
        return None

    keys = sorted(wanted)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        found = list(pool.map(check, keys))
    return {key: why for key, why in zip(keys, found, strict=True) if why is not None}


def _damaged_root(backend: Backend, books: Books) -> dict[str, str]:
    """Check what all generations share where no manifest lists it: by form and by identity."""
    data = backend.read(ROOT_METADATA)
    if data is None:
        return {ROOT_METADATA: f"object {ROOT_METADATA} of {backend.url} is missing"}
    try:
        identity = json.loads(data)["attributes"]["scae"]
    except (ValueError, KeyError, TypeError):
        return {ROOT_METADATA: f"object {ROOT_METADATA} of {backend.url} has no identity in it"}
    if books.identity is not None and not identity.items() <= books.identity.items():
        return {ROOT_METADATA: f"object {ROOT_METADATA} of {backend.url} does not fit {IDENTITY}"}
    return _damaged_samples(backend, Identity.decode(data, backend.url).num_samples)


def _damaged_samples(backend: Backend, num_samples: int) -> dict[str, str]:
    """Check the samples' columns by their own checksums."""
    damaged = {}
    for name in SAMPLE_COLUMNS:
        spec = sample_spec(name, num_samples)
        if backend.read(spec.metadata_key) != encode_metadata(spec):
            damaged[spec.metadata_key] = f"object {spec.metadata_key} is missing or has changed"
        for number in range(spec.num_objects):
            key = spec.object_key(number)
            try:
                decode_object(spec, number, require(backend, key))
            except (CacheFormatError, CacheNotFoundError) as error:
                damaged[key] = str(error)
    return damaged


def _check_asked(backend: Backend, books: Books, generations: Collection[int] | None) -> None:
    missing = sorted(set(generations or ()) - set(books.published))
    if missing:
        have = ", ".join(map(str, books.all_published)) or "none"
        raise CacheNotFoundError(
            f"no generation {missing[0]} in cache {backend.url}, published are: {have}"
        )


def _sort_rest(keys: Iterable[str], books: Books) -> dict[str, list[str]]:
    """Say of every object that no manifest lists what it is."""
    kinds: dict[str, list[str]] = {"foreign": [], "leftover": [], "unverifiable": []}
    for key in keys:
        kinds[_kind(key, books)].append(key)
    return kinds


def _kind(key: str, books: Books) -> str:
    number = _number(key)
    if key.startswith(f"{RECEIPTS}/"):
        return "leftover" if record_number(key) is not None else "foreign"
    if number is not None and _GENERATION_PARTS.fullmatch(key):
        if number in books.manifests:
            return "foreign"  # a published generation whose manifest does not know this object
        return "unverifiable" if number in books.published else "leftover"
    shared = key in (ROOT_METADATA, f"{GENERATIONS}/zarr.json") or key.startswith(f"{SAMPLES}/")
    return "unverifiable" if shared and not books.manifests else "foreign"


def _number(key: str) -> int | None:
    """Return the generation that a key belongs to, None for what all share."""
    match = _NUMBERED.match(key)
    return int(match[1]) if match else None
