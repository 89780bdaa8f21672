"""What a cache holds, for people and programs."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from cache_store.backend import Backend, open_backend
from cache_store.errors import CacheNotFoundError, DamagedCacheError
from cache_store.generation import Generation
from cache_store.layout import PLANS, generation_key, receipts_key, record_number
from cache_store.leases import is_condemned
from cache_store.provenance import Provenance
from cache_store.store import SaliencyStore
from cache_store.writer import GenerationPlan, read_plan


def cache_info(url: str | Path) -> dict[str, Any]:
    """Describe a cache and each of its generations as JSON values.

    Raises:
        CacheNotFoundError: If there is none.
        DamagedCacheError: If a manifest or column has changed since publication.
    """
    store = SaliencyStore.open(url)
    return {
        "url": store.url,
        "data": store.data,
        "num_samples": store.num_samples,
        "fingerprint": store.fingerprint,
        "software": {name: version(name) for name in ("numcodecs", "numpy", "zarr")},
        "generations": [_generation(store.generation(number)) for number in store.generations()],
    }


def _generation(generation: Generation) -> dict[str, Any]:
    manifest = generation.manifest
    return {
        "number": generation.number,
        "digest": generation.digest,
        "published_at": manifest.published_at,
        "map_shape": list(manifest.plan.map_shape),
        "bytes": sum(length for length, _ in manifest.objects.values()),
        "flat": manifest.num_flat,
        "notes": manifest.notes,
        "skipped": len(manifest.skipped),
        "provenance": generation.provenance.as_dict(),
        "software": manifest.software,
    }


def list_generations(url: str | Path) -> list[dict[str, Any]]:
    """Describe every generation of a cache, unfinished ones too, as JSON values, oldest first.

    Returns:
        A dict each: number, state ('published', 'damaged' or 'unfinished'), done (share of the
        blocks in [0, 1]), published_at, epoch, network, bytes (of its own objects), digest; None
        where it is not known.

    Raises:
        CacheNotFoundError: If there is no cache.
    """
    store = SaliencyStore.open(url)
    backend = open_backend(url)
    published = set(store.generations())
    claimed = {number for info in backend.list(PLANS) if (number := record_number(info.key))}
    unfinished = {number for number in claimed - published if not is_condemned(backend, number)}
    return [
        _published(store, number) if number in published else _unfinished(backend, number)
        for number in sorted(published | unfinished)
    ]


def _published(store: SaliencyStore, number: int) -> dict[str, Any]:
    try:
        manifest = store.generation(number).manifest
    except DamagedCacheError:
        return _row(number, "damaged", None)
    own = f"{generation_key(number)}/"
    return _row(number, "published", manifest.plan.provenance) | {
        "done": 1.0,
        "published_at": manifest.published_at,
        "bytes": sum(
            length for key, (length, _) in manifest.objects.items() if key.startswith(own)
        ),
        "digest": manifest.digest,
    }


def _unfinished(backend: Backend, number: int) -> dict[str, Any]:
    try:
        plan = GenerationPlan.from_dict(read_plan(backend, number)["plan"])
    except (DamagedCacheError, CacheNotFoundError):
        return _row(number, "damaged", None)
    receipts = len(backend.list(receipts_key(number)))
    stored = backend.list(generation_key(number))
    return _row(number, "unfinished", plan.provenance) | {
        "done": receipts / plan.saliency_spec(number).num_objects,
        "bytes": sum(info.length for info in stored),
    }


def _row(number: int, state: str, made_from: Provenance | None) -> dict[str, Any]:
    return {
        "number": number,
        "state": state,
        "done": None,
        "published_at": None,
        "epoch": None if made_from is None else made_from.epoch,
        "network": None if made_from is None else made_from.network,
        "bytes": None,
        "digest": None,
    }
