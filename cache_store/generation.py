"""One published generation, read-only.

Legend: N samples, h, w height and width of a map, K classes.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from cache_store.backend import Backend
from cache_store.errors import CacheNotFoundError, DamagedCacheError
from cache_store.layout import SAMPLES, generation_key, published_key
from cache_store.manifest import Manifest
from cache_store.provenance import Provenance
from cache_store.resident import ResidentMaps, open_resident
from cache_store.verify import VerifyReport, verify_generation
from cache_store.zarr_view import ZarrView, check_object


class Generation:
    """The maps of all samples as one set of weights saw them. Nothing in it ever changes."""

    def __init__(self, backend: Backend, manifest: Manifest) -> None:
        self._backend = backend
        self.manifest = manifest
        self.number = manifest.generation

    def __repr__(self) -> str:
        return f"Generation({self.number} of {self._backend.url}, digest {self.digest[:12]})"

    def __len__(self) -> int:
        return self.manifest.plan.num_samples

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 over all objects: the same digest means the same bytes."""
        return self.manifest.digest

    @property
    def provenance(self) -> Provenance:
        """What the maps were made from."""
        return self.manifest.plan.provenance

    @property
    def url(self) -> str:
        """Path or URL of the cache."""
        return self._backend.url

    def read_object(self, key: str) -> bytes:
        """Return the bytes of one of the manifest's objects, checked against it.

        Raises:
            DamagedCacheError: If the object is missing, has changed or is not listed.
        """
        if key not in self.manifest.objects:
            raise DamagedCacheError(f"object {key} is not in the manifest of {self.url}")
        return check_object(key, self._backend.read(key), self.manifest.objects, self.url)

    @cached_property
    def _root(self) -> zarr.Group:
        view = ZarrView(self._backend, self.manifest.objects)
        return zarr.open_group(view, mode="r", zarr_format=3)

    def array(self, path: str) -> zarr.Array[Any]:
        """Open an array of the cache; every object read is checked against the manifest."""
        found = self._root[path]
        if not isinstance(found, zarr.Array):
            raise TypeError(f"{path} is a group, not an array")
        return found

    @cached_property
    def saliency(self) -> zarr.Array[Any]:
        """Zarr array of the maps, (N, h, w) uint8, 255 = 1.0, each divided by its maximum."""
        return self.array(f"{generation_key(self.number)}/saliency")

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """The network's probability of each row's label, (N,) float32, stored as float16."""
        path = f"{generation_key(self.number)}/probability"
        return np.asarray(self.array(path)[:]).astype(np.float32)

    @cached_property
    def class_neighbours(self) -> NDArray[np.int32]:
        """Nearest classes of each class, nearest first, (K, 5) int32, -1 for none."""
        path = f"{generation_key(self.number)}/class_neighbours"
        values: NDArray[np.int32] = np.asarray(self.array(path)[:])
        return values

    @cached_property
    def sample_ids(self) -> NDArray[np.uint64]:
        """Id of each row's sample, (N,) uint64."""
        return self._sample_column("sample_id")

    @cached_property
    def content_ids(self) -> NDArray[np.uint32]:
        """Hash of the image each row's map was made from, (N,) uint32."""
        return self._sample_column("content_id")

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Label of each row's sample, (N,) int64."""
        return self._sample_column("label").astype(np.int64)

    def _sample_column(self, name: str) -> NDArray[Any]:
        values: NDArray[Any] = np.asarray(self.array(f"{SAMPLES}/{name}")[:])
        return values

    def verify(self) -> VerifyReport:
        """Compare every object with the manifest; `.damaged` names those that differ."""
        return verify_generation(self._backend, self.manifest)

    def resident(self, directory: str | Path | None = None) -> ResidentMaps:
        """Open the maps as a memory-mapped file on this node, decoding them if nobody has yet.

        Args:
            directory: Folder for the file; by default `$SCAE_RESIDENT_DIR`, `$SLURM_TMPDIR`,
                `$TMPDIR`, the system's temporary folder, the first that is set.

        Raises:
            CacheNotFoundError: If the generation was collected meanwhile.
            DamagedCacheError: If the cache's objects have changed since publication.
            StoreError: If the file can't be written.
        """
        try:
            return open_resident(self, directory)
        except DamagedCacheError as error:
            if self._backend.length(published_key(self.number)) is not None:
                raise
            raise CacheNotFoundError(
                f"generation {self.number} of cache {self.url} was collected while it was being "
                "read: open the latest one, and take a lease on what is to be read for long"
            ) from error
