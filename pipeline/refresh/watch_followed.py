"""What a watcher follows: the data, network and policy that checkpoints belong to."""

from dataclasses import dataclass

from loaders.image_data import ImageData
from loaders.policy import ScaePolicy
from pipeline.refresh.plan import RefreshOptions
from pipeline.refresh.policy import RefreshPolicy
from pipeline.refresh.sources import DataSource, NetworkSource


@dataclass(frozen=True, kw_only=True, slots=True)
class Followed:
    """A run that writes checkpoints."""

    data: DataSource
    """How another process opens the training data."""
    opened: ImageData
    """The training data."""
    network: NetworkSource
    """How the network is built; each checkpoint gives the weights."""
    options: RefreshOptions
    """How maps are computed; each checkpoint gives the epoch."""
    policy: RefreshPolicy
    """Which epochs are refreshed from."""


def follow_policy(*, num_epochs: int, interval: int = 4, lambda_max: float = 2.0) -> RefreshPolicy:
    """Return the refresh policy of a training loop that has no recipe.

    Args:
        num_epochs: T.
        interval: R, epochs between refreshes.
        lambda_max: Strength that Eq. 5 grows to.

    Raises:
        RecipeError: If a number is out of range.
        OptionError: If lambda_max is not finite.
    """
    erasing = ScaePolicy(num_epochs=num_epochs, class_counts=(1, 1), lambda_max=lambda_max)
    return RefreshPolicy(num_epochs=num_epochs, interval=interval, lam=erasing.lam)
