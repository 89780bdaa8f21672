"""What summary.json says of the maps that a run drew from, generation by generation."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from cache_store.errors import CacheNotFoundError, DamagedCacheError, StoreError
from cache_store.generation import Generation
from cache_store.store import SaliencyStore
from loaders.batches import NO_GENERATION
from pipeline.errors import RefreshError
from pipeline.refresh.compare import compare_generations
from pipeline.refresh.map_sample import SAMPLE_ROWS
from pipeline.refresh.quality import saliency_quality
from pipeline.training.run_folder import Row
from pipeline.training.setup import RunParts

COMPARED_AT = 2.0
"""Guidance strength that maps are compared at where the run's last epoch has none of Eq. 5."""
REMOVED, DAMAGED = "not in the cache any more", "damaged: see `scae cache verify`"
"""Why there is nothing to say of a generation."""


def map_history(parts: RunParts, rows: Sequence[Row]) -> dict[str, Any]:
    """Measure the maps of every generation that an epoch drew from, and how far they moved.

    Args:
        parts: The run's parts.
        rows: The run's epochs.

    Returns:
        `generations` (number, digest, epoch of its weights, or instead of the last two `missing`:
        why), `pointing` (see `saliency_quality`; only where objects are known) and `movement` (see
        `_movement`).
    """
    used = sorted({row["generation"] for row in rows} - {NO_GENERATION})
    opened = {number: _open(parts.cache, number) for number in used}
    kept = [found for found in opened.values() if isinstance(found, Generation)]
    return {
        "generations": [_facts(number, found) for number, found in opened.items()],
        "pointing": _pointing(parts, kept),
        "movement": {
            "lambda": (lam := _final_lambda(parts, rows)),
            "num_sampled": min(SAMPLE_ROWS, len(parts.train_data)),
            "steps": [
                {"before": one, "after": two, **_movement(opened[one], opened[two], lam)}
                for one, two in pairwise(used)
            ],
        },
    }


def _open(cache: str, number: int) -> Generation | str:
    """Return a generation, or why there is none: a gap is no reason to lose the report."""
    try:
        return SaliencyStore.open(cache).generation(number)
    except CacheNotFoundError:  # a collector was at work
        return REMOVED
    except DamagedCacheError:
        return DAMAGED


def _facts(number: int, found: Generation | str) -> dict[str, Any]:
    if isinstance(found, str):
        return {"number": number, "digest": None, "epoch": None, "missing": found}
    return {"number": number, "digest": found.digest, "epoch": found.provenance.epoch}


def _final_lambda(parts: RunParts, rows: Sequence[Row]) -> float:
    """Return lambda of the first stage's last epoch; `COMPARED_AT` where nothing follows Eq. 5."""
    guided = [row["lam"] for row in rows if row["stage"] == 1 and row["lam"]]
    return float(guided[-1]) if parts.policy is not None and guided else COMPARED_AT


def _movement(before: Generation | str, after: Generation | str, lam: float) -> dict[str, Any]:
    """Compare a fixed sample of the maps of two generations.

    Returns:
        `tv_distance` and `peaks_moved` in [0, 1] and `rank_correlation` (None if every map is
        flat), or instead of all of them `gap`: why there is nothing to compare.
    """
    if isinstance(before, str):
        return {"gap": before}
    if isinstance(after, str):
        return {"gap": after}
    try:
        found = compare_generations(before, after, lam=lam, num_worst=0, sample=SAMPLE_ROWS)
    except (StoreError, RefreshError) as error:  # collected just now, damaged, or of another shape
        return {"gap": str(error)}
    return {
        "tv_distance": found.tv_distance,
        "rank_correlation": found.rank_correlation,
        "peaks_moved": found.peaks_moved,
    }


def _pointing(parts: RunParts, generations: Sequence[Generation]) -> list[dict[str, Any]]:
    masks = parts.train_data.masks
    if masks is None:
        return []
    every_row = np.arange(len(parts.train_data))
    points = []
    for generation in generations:
        maps = parts.loader.dataset.maps.fetch(generation.number, every_row).maps
        quality = saliency_quality(maps, masks)
        if quality is not None:
            points.append(
                {
                    "generation": generation.number,
                    "epoch": generation.provenance.epoch,
                    "share": quality.pointing,
                    "lower": quality.lower,
                    "upper": quality.upper,
                    "chance": quality.chance,
                    "energy": quality.energy,
                }
            )
    return points
