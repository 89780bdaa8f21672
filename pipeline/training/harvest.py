"""Maps out of training's own forward passes: taken at each step, merged and published by the epoch.

Legend: B samples of a batch, N samples, h, w height and width of a map.
"""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_store.rows import rows_of
from cache_store.store import SaliencyStore
from cache_store.writer import GenerationWriter
from loaders.batches import Batch
from pipeline.refresh.attempts import BlockOutcome
from pipeline.refresh.blocks import Block
from pipeline.refresh.job import RefreshReport, execute
from pipeline.refresh.plan import RefreshPlan
from pipeline.refresh.runner import BlockResult, StopRequested
from pipeline.saliency.quantise import quantise
from pipeline.saliency.step_maps import StepMaps
from pipeline.training.harvest_merge import NEVER, MergedMaps, SeenViews
from pipeline.training.harvest_views import HarvestedViews
from pipeline.training.refresh_step import plan_from_checkpoint, present_network
from pipeline.training.run_folder import RunFolder
from pipeline.training.setup import RunParts

TRUE_VIEWS = 2.0
"""How many views a map of a true refresh counts as: one of the whole image, by settled weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Harvested:
    """How much of the images the merged maps are of."""

    coverage: float
    """Share of all cells that a view has shown."""
    age: float
    """Mean epochs since that, over those cells."""


class Harvest:
    """The maps of a run that makes them of its own steps. Every rank has one.

    Args:
        parts: The run's parts.

    Raises:
        NetworkError: If the network's steps give no maps.
    """

    def __init__(self, parts: RunParts) -> None:
        recipe = parts.recipe
        self._parts = parts
        self._steps = StepMaps(
            parts.built.module,
            recipe.network.target_layer,
            size=parts.size,
            num_classes=parts.built.num_classes,
            any_head=recipe.harvest.any_head,
        )
        self._views = HarvestedViews(self._steps.shape, recipe.harvest)
        self._merged: MergedMaps | None = None
        if parts.ranks.leads:
            num = len(parts.train_data)
            self._merged = MergedMaps(num, self._steps.shape, recipe.harvest.decay)
        self._classes = torch.from_numpy(parts.train_data.labels.copy())

    def listening(self) -> AbstractContextManager[None]:
        """Return a context for a step's forward pass."""
        return self._steps.listening()

    def take(self, batch: Batch, logits: Tensor) -> None:
        """Take the maps of the step whose forward pass has just been; before its backward pass.

        Args:
            batch: Its batch, as the loader delivered it.
            logits: (B, K).
        """
        labels_B = self._classes[batch.indices].to(logits.device)
        maps_Bhw = self._steps.take(logits, labels_B)
        probability_BK = logits.detach().float().softmax(1)
        probability_B = probability_BK.gather(1, labels_B[:, None])[:, 0]
        self._views.add(batch, maps_Bhw, probability_B)

    def end_epoch(self, epoch: int) -> None:
        """Merge what all ranks have seen of an epoch; all of them call this together."""
        seen = self._parts.ranks.gathered(self._views.seen())
        self._views.clear()
        if self._merged is not None:
            self._merged.add(SeenViews.joined(seen), epoch)

    def rank_state(self) -> dict[str, Tensor]:
        """Return what this rank has seen of an epoch that is not over."""
        return self._views.seen().state()

    def merged_state(self) -> dict[str, Tensor]:
        """Return what the epochs that are over have left; nothing but on the first rank."""
        return {} if self._merged is None else self._merged.state()

    def load_state(self, seen: Sequence[dict[str, Tensor]], merged: dict[str, Any]) -> None:
        """Go on where `rank_state` and `merged_state` were.

        Args:
            seen: Of this rank, or of several whose part it takes over.
            merged: Of the first rank.
        """
        if seen:
            self._views.take_over(SeenViews.joined([SeenViews.of_state(one) for one in seen]))
        if self._merged is not None:
            self._merged.load_state(merged)

    def take_over(self, generation: int, epoch: int) -> None:
        """Begin anew with the maps of a true refresh, on the first rank.

        Args:
            generation: Its number.
            epoch: 0-based epoch whose weights they are of.
        """
        if self._merged is not None:
            rows_N = np.arange(len(self._parts.train_data))
            maps_Nhw = self._parts.loader.dataset.maps.fetch(generation, rows_N).maps
            self._merged.begin_with(maps_Nhw, epoch, TRUE_VIEWS)

    def publish(self, folder: RunFolder, epoch: int) -> tuple[RefreshReport, Harvested]:
        """Publish the merged maps as a generation, on the first rank.

        A generation of this very plan is found again, begun or published.

        Args:
            folder: Where the epoch's checkpoint is.
            epoch: 0-based epoch that is done.
        """
        parts, merged = self._parts, self._merged
        if merged is None:
            raise RuntimeError("only the first rank publishes")
        network = present_network(parts)
        plan = plan_from_checkpoint(parts, folder.checkpoint_path(epoch), epoch, network)
        made = plan.generation.provenance
        provenance = replace(
            made,
            method=parts.recipe.harvest.record,
            batch_size=parts.recipe.train.batch_size,
            precision="bf16" if parts.bf16 else "fp32",
        )
        plan = replace(plan, generation=replace(plan.generation, provenance=provenance))
        found = measured(merged, epoch)
        report = execute(
            plan,
            _Writing(merged, parts.train_data.sample_ids),
            opened=parts.train_data,
            built=network,
            notes={"coverage": round(found.coverage, 6), "age": round(found.age, 3)},
        )
        return report, found


def measured(merged: MergedMaps, epoch: int) -> Harvested:
    """Say how much of the images the maps are of, after a 0-based epoch."""
    shown = merged.epochs != NEVER
    ages = epoch - merged.epochs[shown].astype(np.int64)
    return Harvested(coverage=float(shown.mean()), age=float(ages.mean()) if len(ages) else 0.0)


class _Writing:
    """Writes the blocks of maps that are there; an executor.

    Args:
        merged: The maps.
        sample_ids: (N,) uint64, of their rows.
    """

    num_workers = 1
    dashboard = None

    def __init__(self, merged: MergedMaps, sample_ids: NDArray[np.uint64]) -> None:
        self._merged, self._sample_ids = merged, sample_ids

    def run(
        self, plan: RefreshPlan, number: int, blocks: Sequence[Block], stop: StopRequested
    ) -> Generator[BlockOutcome | None]:
        """Write blocks of generation `number` in order."""
        if not blocks:
            return
        writer = GenerationWriter.attach(plan.cache, number, fsync=plan.options.fsync)
        rows_N = rows_of(self._sample_ids, SaliencyStore.open(plan.cache).sample_ids())
        for block in blocks:
            rows_R = rows_N[block.start : block.stop]
            maps_Rhw = quantise(self._merged.values[rows_R].astype(np.float32))
            writer.write_block(block.number, maps_Rhw, self._merged.probability[rows_R], ())
            yield BlockResult(block=block.number, num_rows=len(block))
