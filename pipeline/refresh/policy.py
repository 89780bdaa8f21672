"""When to refresh: one rule for the trainer and for the service that follows it."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import RecipeError

MIN_STRENGTH = 0.1
"""Below this |lambda| guided and uniform densities differ by 10 % at most: no use for new maps."""


@dataclass(frozen=True, slots=True)
class RefreshDecision:
    """Whether to refresh after an epoch, and why not."""

    wanted: bool
    """True to refresh."""
    reason: str
    """Why, or why not, for the log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshPolicy:
    """Refresh every `interval` epochs, where the next epoch can make use of it."""

    num_epochs: int
    """T."""
    interval: int = 4
    """R: epochs between refreshes; 0 = never."""
    lam: Callable[[int], float]
    """lambda by 0-based epoch (Eq. 5)."""

    def __post_init__(self) -> None:
        if self.num_epochs < 1 or self.interval < 0:
            raise RecipeError(
                "epochs must be 1 or more and refresh.interval 0 or more, "
                f"got {self.num_epochs} and {self.interval}"
            )

    def after(self, epoch: int) -> RefreshDecision:
        """Decide what to do after 0-based `epoch` is done."""
        following = epoch + 1
        if self.interval == 0:
            return RefreshDecision(wanted=False, reason="refresh.interval is 0")
        if following % self.interval:
            return RefreshDecision(wanted=False, reason=f"not a multiple of {self.interval} epochs")
        if following >= self.num_epochs:
            return RefreshDecision(wanted=False, reason="training is over")
        strength = abs(self.lam(following))
        if strength < MIN_STRENGTH:
            return RefreshDecision(
                wanted=False, reason=f"|lambda| = {strength:.3f} is below {MIN_STRENGTH}"
            )
        return RefreshDecision(
            wanted=True, reason=f"epoch {following} draws at |lambda| = {strength:.3f}"
        )

    def epochs(self) -> tuple[int, ...]:
        """Return the 0-based epochs after which a refresh happens."""
        return tuple(epoch for epoch in range(self.num_epochs) if self.after(epoch).wanted)
