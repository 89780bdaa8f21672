"""What a cache holds, for people and programs."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from cache_store.generation import Generation
from cache_store.store import SaliencyStore


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
        "flat": int(np.count_nonzero(generation.column("gain") == 0)),
        "skipped": len(manifest.skipped),
        "provenance": generation.provenance.as_dict(),
        "software": manifest.software,
    }
