"""What a run's recipe says about its maps, in the terms of `pipeline.refresh`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from loaders.methods.scae import ScaeOptions
from pipeline.refresh.plan import RefreshOptions, RefreshPlan, plan_refresh
from pipeline.refresh.policy import RefreshPolicy
from pipeline.saliency.networks import BuiltNetwork
from pipeline.saliency.weights import read_weights, state_digest, weights_digest
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
    delay = recipe.refresh.delay
    return RefreshPolicy(num_epochs=num_epochs, interval=interval, lam=lam, lag=delay)


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


def run_options(parts: RunParts, epoch: int) -> RefreshOptions:
    """Return how a run's maps of the weights after an epoch are computed."""
    device: Device = "cuda" if parts.device.type == "cuda" else "cpu"
    return replace(refresh_options(parts.recipe, device=device), size=parts.size, epoch=epoch)


def plan_from_checkpoint(
    parts: RunParts, checkpoint: Path, epoch: int, network: BuiltNetwork
) -> RefreshPlan:
    """Plan the maps of all training images with the weights after an epoch.

    Args:
        parts: The run's parts.
        checkpoint: File with those weights, for other processes.
        epoch: 0-based epoch that is done.
        network: Says their digest, see `present_network` and `network_of_file`.
    """
    source = network_source(parts.recipe, parts.built.num_classes)
    return plan_refresh(
        parts.data_source,
        replace(source, weights=str(checkpoint.absolute())),
        parts.cache,
        run_options(parts, epoch),
        opened=parts.train_data,
        built=network,
    )


def present_network(parts: RunParts) -> BuiltNetwork:
    """Return the run's network as it is at this moment, for a plan or a refresh."""
    return replace(
        parts.built, weights_kind="file", weights_digest=weights_digest(parts.built.module)
    )


def network_of_file(parts: RunParts, checkpoint: Path) -> BuiltNetwork:
    """Return the run's network with the digest of a checkpoint's weights: for a plan alone.

    Raises:
        NetworkError: If the file can't be read.
    """
    digest = state_digest(read_weights(checkpoint))
    return replace(parts.built, weights_kind="file", weights_digest=digest)
