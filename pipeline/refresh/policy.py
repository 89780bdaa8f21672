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
    """Refresh every `interval` epochs, where the epoch that gets the maps can make use of them."""

    num_epochs: int
    """T."""
    interval: int = 4
    """R: epochs between refreshes; 0 = never."""
    lam: Callable[[int], float]
    """lambda by 0-based epoch (Eq. 5)."""
    lag: int = 0
    """Epochs that maps are adopted later than they could be at the earliest."""

    def __post_init__(self) -> None:
        if self.num_epochs < 1 or self.interval < 0 or self.lag < 0:
            raise RecipeError(
                "epochs must be 1 or more, refresh.interval and lag 0 or more, "
                f"got {self.num_epochs}, {self.interval} and {self.lag}"
            )

    def adopted_at(self, epoch: int) -> int:
        """Return the 0-based epoch that the maps of the weights after `epoch` are for."""
        return epoch + 1 + self.lag

    def after(self, epoch: int) -> RefreshDecision:
        """Decide what to do after 0-based `epoch` is done."""
        following = epoch + 1
        if self.interval == 0:
            return RefreshDecision(wanted=False, reason="refresh.interval is 0")
        if following % self.interval:
            return RefreshDecision(wanted=False, reason=f"not a multiple of {self.interval} epochs")
        if following >= self.num_epochs:
            return RefreshDecision(wanted=False, reason="training is over")
        adopted = self.adopted_at(epoch)
        if adopted >= self.num_epochs:
            reason = f"training is over before epoch {adopted}, which the maps would be for"
            return RefreshDecision(wanted=False, reason=reason)
        strength = abs(self.lam(adopted))
        if strength < MIN_STRENGTH:
            return RefreshDecision(
                wanted=False, reason=f"|lambda| = {strength:.3f} is below {MIN_STRENGTH}"
            )
        return RefreshDecision(
            wanted=True, reason=f"epoch {adopted} draws at |lambda| = {strength:.3f}"
        )

    def epochs(self) -> tuple[int, ...]:
        """Return the 0-based epochs after which a refresh happens."""
        return tuple(epoch for epoch in range(self.num_epochs) if self.after(epoch).wanted)
