"""New maps from a training checkpoint, by the very code of `scae refresh`."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from cache_store.store import SaliencyStore
from loaders.methods.scae import ScaeOptions
from pipeline.refresh.job import RefreshReport, execute
from pipeline.refresh.part import Part
from pipeline.refresh.parts import execute_part, finalize
from pipeline.refresh.plan import RefreshOptions, RefreshPlan, plan_refresh
from pipeline.refresh.policy import RefreshPolicy
from pipeline.refresh.progress import Progress
from pipeline.saliency.networks import BuiltNetwork
from pipeline.saliency.weights import weights_digest
from pipeline.training.recipe import Recipe
from pipeline.training.setup import RunParts, network_source

Device = Literal["auto", "cpu", "cuda"]


def refresh_policy(recipe: Recipe) -> RefreshPolicy:
    """Return after which epochs of a run its maps are made anew."""
    augment, num_epochs = recipe.augment, recipe.train.epochs
    lam: Callable[[int], float] = lambda _epoch: 1.0  # noqa: E731  # other methods than SCAE
    if isinstance(augment, ScaeOptions):
        # Lambda does not depend on the classes.
        lam = augment.policy(num_epochs=num_epochs, class_counts=(1, 1)).lam
    interval = recipe.refresh.interval if augment.reads_maps else 0
    return RefreshPolicy(num_epochs=num_epochs, interval=interval, lam=lam)


def refresh_options(recipe: Recipe, *, device: Device) -> RefreshOptions:
    """Return how a run's maps are computed; the epoch is still open."""
    return RefreshOptions(
        target_layer=recipe.network.target_layer,
        size=recipe.data.size,
        batch_size=recipe.refresh.batch_size,
        precision=recipe.refresh.precision,
        device=device,
        on_error=recipe.refresh.on_error,
    )


def refresh_from_checkpoint(
    parts: RunParts,
    checkpoint: Path,
    epoch: int,
    *,
    progress: Callable[[int, int], None],
    stop: Callable[[], bool],
) -> RefreshReport:
    """Make the maps of all training images with the weights after an epoch.

    Args:
        parts: The run's parts; the network holds the checkpoint's weights.
        checkpoint: File with those weights, for other processes.
        epoch: 0-based epoch that is done.
        progress: Called after each block with the images done and the images in all.
        stop: Asked between batches whether to stop.

    Raises:
        Stopped: If `stop` said so; blocks that are done stay done.
    """
    recipe = parts.recipe
    network = replace(
        network_source(recipe, parts.built.num_classes), weights=str(checkpoint.absolute())
    )
    built = replace(
        parts.built, weights_kind="file", weights_digest=weights_digest(parts.built.module)
    )
    device: Device = "cuda" if parts.device.type == "cuda" else "cpu"
    options = replace(refresh_options(recipe, device=device), size=parts.size, epoch=epoch)
    plan = plan_refresh(
        parts.data_source, network, parts.cache, options, opened=parts.train_data, built=built
    )
    showing: Progress = lambda state: progress(state.rows_done, state.rows_total)  # noqa: E731
    if parts.ranks.size > 1:
        return _by_ranks(parts, plan, built, showing, stop)
    executor = None
    if recipe.refresh.workers:
        from pipeline.refresh.dask_cluster import ClusterOptions
        from pipeline.refresh.dask_executor import DaskExecutor

        executor = DaskExecutor(ClusterOptions(workers=recipe.refresh.workers))
    return execute(
        plan,
        executor,
        opened=parts.train_data,
        built=built,
        progress=showing,
        stop=stop,
    )


def _by_ranks(
    parts: RunParts,
    plan: RefreshPlan,
    built: BuiltNetwork,
    progress: Progress,
    stop: Callable[[], bool],
) -> RefreshReport:
    """Let every rank compute its part of the blocks, and the first one publish them."""
    begun = time.perf_counter()
    ranks = parts.ranks
    ranks.together(
        lambda: execute_part(
            plan,
            Part(ranks.rank + 1, ranks.size),
            opened=parts.train_data,
            built=built,
            progress=progress,
            stop=stop,
        )
    )
    number = ranks.from_first(lambda: finalize(plan, built=built).generation.number)
    generation = ranks.together(lambda: SaliencyStore.open(parts.cache).generation(number))
    return RefreshReport(
        generation=generation,
        reused=False,
        num_rows_found=0,
        seconds=time.perf_counter() - begun,
    )
