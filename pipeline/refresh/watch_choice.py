"""Which checkpoint a watcher refreshes from next: a pure decision."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.refresh.policy import RefreshPolicy
from pipeline.refresh.watch_checkpoints import Checkpoint


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a wanted checkpoint."""

    signature: tuple[int, int]
    """Of the file, so that one that is written anew is looked at anew."""
    published: bool
    """True if a generation was made from it, False if it was skipped."""


def choose(
    there: Mapping[int, Checkpoint],
    policy: RefreshPolicy,
    settled: Mapping[int, Settled],
    latest_epoch: int | None,
) -> Checkpoint | None:
    """Return the newest wanted checkpoint that is not settled, None if there is nothing to do.

    An older one takes the place of one that was skipped, but never goes back before what is
    published.

    Args:
        there: Checkpoints by epoch.
        policy: Says which epochs are wanted.
        settled: What became of those looked at before, by epoch.
        latest_epoch: Epoch that the latest generation is from, None if nobody knows.
    """
    is_fallback = False
    for epoch in sorted(filter(lambda epoch: policy.after(epoch).wanted, there), reverse=True):
        known = settled.get(epoch)
        if known is None or known.signature != there[epoch].signature:
            goes_back = is_fallback and latest_epoch is not None and epoch <= latest_epoch
            return None if goes_back else there[epoch]
        if known.published:
            return None
        is_fallback = True
    return None
