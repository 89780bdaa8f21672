"""What a watcher knows of the checkpoints it has seen, and what it says of each of them."""

from collections.abc import Mapping

from pipeline.refresh.policy import RefreshPolicy
from pipeline.refresh.watch_checkpoints import Checkpoint
from pipeline.refresh.watch_choice import Settled, choose
from pipeline.refresh.watch_options import Log
from pipeline.refresh.watch_status import WatchStatus

Signature = tuple[int, int]


class Ledger:
    """Keeps the books of one watcher; another one begins its own.

    Args:
        policy: Which epochs are wanted.
        status: Gets newest epoch and counts.
        log: Takes what there is to say.
    """

    def __init__(self, policy: RefreshPolicy, status: WatchStatus, log: Log) -> None:
        self.policy = policy
        self._status = status
        self._log = log
        self._settled: dict[int, Settled] = {}
        self._told: dict[int, Signature] = {}
        self._doubtful: dict[int, Signature] = {}

    def notice(self, there: Mapping[int, Checkpoint]) -> None:
        """Tell of checkpoints that are new, and of wanted ones that came and went."""
        fresh = [one for one in there.values() if self._told.get(one.epoch) != one.signature]
        if not fresh:
            return
        is_first = not self._told
        self._told |= {one.epoch: one.signature for one in fresh}
        newest = max(there)
        if is_first and len(there) > 1:
            text = f"found {len(there)} checkpoints, of epochs {min(there)} to {newest}"
            self._log("found", text, epochs=sorted(there))
        else:
            for checkpoint in sorted(fresh, key=lambda one: one.epoch):
                self._introduce(checkpoint.epoch)
        if self._status.epoch_seen is not None:
            for epoch in range(self._status.epoch_seen + 1, newest):
                if epoch not in there and self.policy.after(epoch).wanted:
                    self._skip(epoch, "missed", "its checkpoint came and went between two looks")
        self._status.epoch_seen = newest

    def choose(
        self, there: Mapping[int, Checkpoint], latest_epoch: int | None
    ) -> Checkpoint | None:
        """Return what to refresh from next, see `watch_choice.choose`."""
        return choose(there, self.policy, self._settled, latest_epoch)

    def is_published(self, epoch: int) -> bool:
        """Tell whether this watcher has published an epoch's maps, or found them published."""
        known = self._settled.get(epoch)
        return known is not None and known.published

    def publish(self, checkpoint: Checkpoint) -> None:
        """Note that a generation was made from a checkpoint."""
        self._settled[checkpoint.epoch] = Settled(checkpoint.signature, published=True)

    def supersede(self, there: Mapping[int, Checkpoint], after: int | None, by: int) -> None:
        """Tell of the wanted checkpoints that were passed over for a newer one.

        Args:
            there: Checkpoints by epoch.
            after: Epoch that was published before, None for none.
            by: Epoch that is published now.
        """
        for epoch in sorted(there):
            passed = -1 if after is None else after
            if passed < epoch < by and epoch not in self._settled:
                if self.policy.after(epoch).wanted:
                    self._skip(epoch, "superseded", f"epoch {by} is newer")

    def vanish(self, checkpoint: Checkpoint) -> None:
        """Note that a checkpoint was removed before it could be read."""
        self._settled[checkpoint.epoch] = Settled(checkpoint.signature, published=False)
        self._skip(checkpoint.epoch, "vanished", "removed before it could be read")

    def doubt(self, checkpoint: Checkpoint, why: str) -> bool:
        """Note that a checkpoint can't be used; True once it is given up.

        A file that somebody is writing gets a second look at the next poll.
        """
        epoch = checkpoint.epoch
        if self._doubtful.get(epoch) != checkpoint.signature:
            self._doubtful[epoch] = checkpoint.signature
            text = f"epoch {epoch}: can't be used, one more look at the next poll: {why}"
            self._log("doubtful", text, epoch=epoch)
            return False
        self._settled[epoch] = Settled(checkpoint.signature, published=False)
        self._skip(epoch, "damaged", why)
        return True

    def _introduce(self, epoch: int) -> None:
        decision = self.policy.after(epoch)
        word = "refresh wanted" if decision.wanted else "no refresh"
        text = f"epoch {epoch}: {word}: {decision.reason}"
        self._log("checkpoint", text, epoch=epoch, wanted=decision.wanted)

    def _skip(self, epoch: int, reason: str, text: str) -> None:
        self._status.skipped[reason] += 1
        self._log(
            "skipped", f"epoch {epoch}: skipped, {reason}: {text}", epoch=epoch, reason=reason
        )
