"""Repair of one generation: blocks computed anew by its own plan, compared with its manifest.

Legend: N samples, R rows of a block, h, w height and width of a map, K classes.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_store.arrays import ArraySpec, decode_object, encode_object
from cache_store.backend import Backend
from cache_store.generation import Generation
from cache_store.layout import IDENTITY, ROOT_METADATA, SAMPLES
from cache_store.manifest import Manifest
from cache_store.mend import array_specs, mend_identity, put_listed
from cache_store.store import SaliencyStore
from cache_store.zarr_view import check_object
from pipeline.refresh.blocks import Block, cut_blocks
from pipeline.refresh.neighbours import class_neighbours
from pipeline.refresh.repair_sources import RepairSources, SourcesAtHand
from pipeline.saliency.methods import MethodChoice

MAX_LEVELS = 1
"""How far maps of another device or library version may lie from those that were stored."""

Progress = Callable[[int, int], None]
Computed = tuple[NDArray[np.uint8], NDArray[np.floating[Any]]]


class GenerationRepair:
    """What is damaged of one generation, and the way back.

    Args:
        backend: The cache.
        manifest: The generation's.
        damaged: Keys that are damaged; those of other generations are passed over.
        sources: Data and network, None to do without.
    """

    def __init__(
        self,
        backend: Backend,
        manifest: Manifest,
        damaged: set[str],
        sources: RepairSources | None,
    ) -> None:
        self.backend = backend
        self.manifest = manifest
        self.damaged = damaged & manifest.objects.keys()
        self._identity_is_damaged = IDENTITY in damaged
        self.repaired: list[str] = []
        self.hopeless: dict[str, str] = {}
        self.different: list[str] = []
        """Keys whose recomputed bytes are not those that the manifest lists."""
        self._at_hand = SourcesAtHand(sources, backend, manifest)
        self._has_sources = sources is not None
        self._computed: dict[int, Computed] = {}
        self._blocks = cut_blocks(manifest.plan.num_samples, manifest.plan.block_rows)
        self._specs = {
            spec.name.rsplit("/", 1)[-1]: spec for spec in array_specs(manifest, num_classes=1)
        }

    @property
    def notes(self) -> list[str]:
        """What the operator should know."""
        return self._at_hand.notes

    def run(self, progress: Progress) -> None:
        """Compute what is damaged and write what comes out as the manifest lists it.

        Raises:
            CacheMismatchError: If data or weights are not those that the maps were made from.
        """
        needs_data = self._damaged_of("sample_id", "content_id", "label")
        needs_maps = self._damaged_of("saliency", "probability", "class_neighbours")
        method = self.manifest.plan.provenance.method
        if not MethodChoice.knows(method):
            reason = f"maps made by {method!r} can't be computed anew: make new ones, scae refresh"
            self.hopeless |= dict.fromkeys(self._damaged_of("saliency", "probability"), reason)
            needs_maps = self._damaged_of("class_neighbours")
        if (needs_data or needs_maps) and not self._has_sources:
            reason = "it can be computed from data and network only: give --data and --weights"
            self.hopeless |= dict.fromkeys([*needs_data, *needs_maps], reason)
        else:
            self._put_samples(needs_data)
            if self._order_is_known():
                if self._identity_is_damaged:
                    mend_identity(self.backend)  # without it no store opens to compute blocks
                if MethodChoice.knows(method):
                    self._put_blocks(progress)
                self._put_neighbours()
            else:
                reason = "which row is which sample is not known, samples/sample_id is damaged"
                self.hopeless |= dict.fromkeys(needs_maps, reason)

    def why_no_new_generation(self) -> str | None:
        """Return what speaks against publishing the maps that came out differently."""
        if any(key == ROOT_METADATA or key.startswith(f"{SAMPLES}/") for key in self.damaged):
            return "no new generation can be made while what all share is damaged"
        levels = self._control_levels
        if levels is not None and levels > MAX_LEVELS:
            return (
                f"a block that is intact comes out up to {levels} levels apart as well, so this is "
                "another computation (library versions, device?): refresh again"
            )
        return None

    def publish(self, store: SaliencyStore) -> Generation:
        """Publish a generation of the intact shards and the recomputed ones."""
        writer = store.begin(self._at_hand.plan, anew=True)
        for number in writer.pending():
            maps_Rhw, probability_R = self._block_values(number)
            start, stop = writer.block_range(number)
            skipped = tuple(row for row in self.manifest.skipped if start <= row < stop)
            writer.write_block(number, maps_Rhw, probability_R, skipped)
        return store.publish(writer, self._neighbours())

    @cached_property
    def _control_levels(self) -> int | None:
        """Levels by which an intact block comes out differently, None if no block is intact."""
        spec = self._specs["saliency"]
        for block in self._blocks:
            if spec.object_key(block.number) not in self.damaged:
                stored_Rhw = self._stored(spec, block.number).astype(np.int16)
                maps_Rhw = self._compute(block)[0]
                levels = int(np.abs(stored_Rhw - maps_Rhw).max())
                self._at_hand.notes.append(
                    f"intact block {block.number} comes out up to {levels} levels apart here"
                )
                return levels
        self._at_hand.notes.append(
            "no block is intact, so nothing tells how far the maps lie apart"
        )
        return None

    def _order_is_known(self) -> bool:
        return ROOT_METADATA not in self.damaged and not self._damaged_of("sample_id")

    def _put_samples(self, keys: list[str]) -> None:
        """Write samples' ids, contents and labels from the data."""
        if not keys:
            return
        order_is_known = not any("/sample_id/" in key for key in keys)
        data = self._at_hand.runner.data if order_is_known else self._at_hand.data
        columns: dict[str, NDArray[Any]] = {
            "sample_id": data.sample_ids,
            "content_id": data.content_ids.astype(np.uint32),
            "label": data.labels.astype(np.int32),
        }
        for name, values_N in columns.items():
            self._put_column(name, values_N)

    def _put_blocks(self, progress: Progress) -> None:
        """Compute the blocks whose shard, or whose part of the probabilities, is damaged."""
        spec, column = self._specs["saliency"], self._specs["probability"]
        lost = [n for n in range(column.num_objects) if column.object_key(n) in self.damaged]
        needed = [
            block
            for block in self._blocks
            if spec.object_key(block.number) in self.damaged
            or any(_overlap(block, column, number) for number in lost)
        ]
        probability_N = np.zeros(self.manifest.plan.num_samples, np.float16)
        for done, block in enumerate(needed):
            progress(done, len(needed))
            maps_Rhw, probability_R = self._compute(block)
            probability_N[block.start : block.stop] = probability_R
            if spec.object_key(block.number) in self.damaged:
                self._put(spec, block.number, maps_Rhw)
        progress(len(needed), len(needed))
        self._put_column("probability", probability_N)

    def _put_neighbours(self) -> None:
        spec = self._specs["class_neighbours"]
        if spec.object_key(0) in self.damaged:
            neighbours_K5 = self._neighbours()
            self._put(
                replace(spec, shape=neighbours_K5.shape, object_rows=len(neighbours_K5)),
                0,
                neighbours_K5,
            )

    def _neighbours(self) -> NDArray[np.int32]:
        return class_neighbours(self._at_hand.built.module, self._at_hand.data.num_classes)

    def _put_column(self, name: str, values_N: NDArray[Any]) -> None:
        spec = self._specs[name]
        for number in range(spec.num_objects):
            rows = slice(number * spec.object_rows, (number + 1) * spec.object_rows)
            if spec.object_key(number) in self.damaged:
                self._put(spec, number, values_N[rows])

    def _put(self, spec: ArraySpec, number: int, rows: NDArray[Any]) -> None:
        key = spec.object_key(number)
        if put_listed(self.backend, self.manifest, key, encode_object(spec, number, rows)):
            self.repaired.append(key)
            self.damaged.discard(key)
        else:
            self.different.append(key)

    def _compute(self, block: Block) -> Computed:
        if block.number not in self._computed:
            maps_Rhw, probability_R, _ = self._at_hand.runner.compute(block)
            self._computed[block.number] = (maps_Rhw, probability_R)
        return self._computed[block.number]

    def _stored(self, spec: ArraySpec, number: int) -> NDArray[Any]:
        key = spec.object_key(number)
        data = check_object(key, self.backend.read(key), self.manifest.objects, self.backend.url)
        return decode_object(spec, number, data)

    def _block_values(self, number: int) -> Computed:
        """Return a block's maps and probabilities, as stored if they are intact."""
        block = self._blocks[number]
        spec, column = self._specs["saliency"], self._specs["probability"]
        if spec.object_key(number) in self.damaged:
            return self._compute(block)
        maps_Rhw = self._stored(spec, number)
        chunks = [n for n in range(column.num_objects) if _overlap(block, column, n)]
        if any(column.object_key(n) in self.damaged for n in chunks):
            return maps_Rhw, self._compute(block)[1]
        values = np.concatenate([self._stored(column, n) for n in chunks])
        first = block.start - chunks[0] * column.object_rows
        return maps_Rhw, values[first : first + len(block)]

    def _damaged_of(self, *names: str) -> list[str]:
        keys = (spec.name for name, spec in self._specs.items() if name in names)
        starts = tuple(f"{key}/c/" for key in keys)
        return sorted(key for key in self.damaged if key.startswith(starts))


def _overlap(block: Block, column: ArraySpec, number: int) -> bool:
    start = number * column.object_rows
    return block.start < start + column.object_rows and start < block.stop
