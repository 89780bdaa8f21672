"""Checking a generation byte by byte against its manifest."""

from dataclasses import dataclass

from cache_store.backend import Backend
from cache_store.errors import DamagedCacheError
from cache_store.layout import generation_key
from cache_store.manifest import Manifest
from cache_store.zarr_view import check_object


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyReport:
    """What a check found."""

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


def verify_generation(backend: Backend, manifest: Manifest) -> VerifyReport:
    """Read every object of a generation and compare it with the manifest."""
    damaged: dict[str, str] = {}
    for key in sorted(manifest.objects):
        try:
            check_object(key, backend.read(key), manifest.objects, backend.url)
        except DamagedCacheError as error:
            damaged[key] = str(error)
    there = {info.key for info in backend.list(generation_key(manifest.generation))}
    foreign = tuple(sorted(there - set(manifest.objects)))
    return VerifyReport(checked=len(manifest.objects), damaged=damaged, foreign=foreign)
