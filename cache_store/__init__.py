"""The saliency cache: generations of per-sample maps in one Zarr group (numpy and zarr only)."""

from typing import TYPE_CHECKING

from cache_store.lazy import lazy_exports

if TYPE_CHECKING:
    from cache_store.errors import ScaeError
    from cache_store.generation import Generation
    from cache_store.resident import ResidentMaps
    from cache_store.store import SaliencyStore

__all__ = ["Generation", "ResidentMaps", "SaliencyStore", "ScaeError"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Generation": "cache_store.generation",
        "ResidentMaps": "cache_store.resident",
        "SaliencyStore": "cache_store.store",
        "ScaeError": "cache_store.errors",
    },
)
