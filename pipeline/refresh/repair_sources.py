"""Data and network for a repair: opened when first needed, refused if they are not the same."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from cache_store.backend import Backend
from cache_store.errors import CacheMismatchError
from cache_store.identity import Identity, require_same_depth
from cache_store.layout import ROOT_METADATA
from cache_store.manifest import Manifest
from cache_store.provenance import Provenance
from cache_store.writer import GenerationPlan
from loaders.image_data import ImageData
from pipeline.errors import RefreshError
from pipeline.refresh.plan import RefreshOptions, RefreshPlan
from pipeline.refresh.runner import BlockRunner
from pipeline.refresh.sources import DataSource, NetworkSource
from pipeline.saliency.networks import BuiltNetwork


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairSources:
    """Where to get what a manifest can't hold."""

    data: Callable[[], ImageData]
    """Opens the data."""
    network: Callable[[Provenance, int], BuiltNetwork]
    """Builds the network, from the provenance and the number of classes."""


class SourcesAtHand:
    """Data, network and runner for one generation; errors come with the first use of each.

    Args:
        sources: How to open them; None: every use raises RefreshError.
        backend: The cache.
        manifest: The generation's.
    """

    def __init__(self, sources: RepairSources | None, backend: Backend, manifest: Manifest) -> None:
        self._sources = sources
        self._backend = backend
        self._manifest = manifest
        self.notes: list[str] = []
        """What the operator should know."""

    @cached_property
    def data(self) -> ImageData:
        """The data that the maps were made from, in its own order.

        Raises:
            CacheMismatchError: If it is other data.
        """
        data = self._given().data()
        root = self._backend.read(ROOT_METADATA)
        if root is not None:
            url = self._backend.url
            require_same_depth(url, cache=Identity.decode(root, url).deep, data=data.deep)
        made_from = self._manifest.plan.provenance
        self._require_same("data", data.name, made_from.fingerprint, data.fingerprint)
        return data

    @cached_property
    def built(self) -> BuiltNetwork:
        """The network that the maps were made with.

        Raises:
            CacheMismatchError: If it has other weights.
        """
        made_from = self._manifest.plan.provenance
        built = self._given().network(made_from, self.data.num_classes)
        self._require_same("weights", built.name, made_from.weights_digest, built.weights_digest)
        return built

    @cached_property
    def plan(self) -> GenerationPlan:
        """The generation's plan, with the device that computes here."""
        plan = self._manifest.plan
        planned = plan.provenance.device_type
        if planned == "cpu" or torch.cuda.is_available():
            return plan
        self.notes.append(f"computed on cpu, there is no {planned} here: other bytes are possible")
        return replace(plan, provenance=replace(plan.provenance, device_type="cpu"))

    @cached_property
    def runner(self) -> BlockRunner:
        """Computes blocks of the plan, rows in the cache's order."""
        made_from = self.plan.provenance
        plan = RefreshPlan(
            cache=self._backend.url,
            data=DataSource(name=made_from.data),
            network=NetworkSource(name=made_from.network, num_classes=self.data.num_classes),
            generation=self.plan,
            options=RefreshOptions(on_error="skip" if self._manifest.skipped else "raise"),
        )
        return BlockRunner(plan, self.data, self.built)

    def _given(self) -> RepairSources:
        if self._sources is None:
            raise RefreshError("data and network are needed: give --data and --weights")
        return self._sources

    def _require_same(self, what: str, name: str, made_from: str, found: str) -> None:
        if made_from != found:
            raise CacheMismatchError(
                f"generation {self._manifest.generation} of {self._backend.url} was made from "
                f"{what} with digest {made_from[:12]}, {name} at hand has {found[:12]}: give the "
                f"{what} that it was made from, with the same options"
            )
