"""Between two steps: whether all ranks go on, write a checkpoint, or stop."""

import time
from collections.abc import Callable

from pipeline.errors import OtherRankFailed, Stopped, TrainingError
from pipeline.training.ranks import Ranks


class Pauses:
    """Lets the ranks agree on what happens after a step, so that all of them do it there.

    Args:
        ranks: Who has to agree.
        stop: Asked at each step whether to stop, on every rank.
        seconds: Time between two checkpoints in the middle of an epoch; 0 for none.
        save: Writes one; all ranks call it together.
    """

    def __init__(
        self, ranks: Ranks, stop: Callable[[], bool], seconds: float, save: Callable[[], None]
    ) -> None:
        self._ranks, self._stop, self._seconds, self._save = ranks, stop, seconds, save
        self._saved = time.monotonic()
        self._stopping = self._due = False

    def before_update(self, problem: str | None) -> None:
        """Agree on what happens after this step.

        Args:
            problem: Why this rank's gradients must not be followed, None if all is well.

        Raises:
            TrainingError: If a rank has a problem.
        """
        due = bool(self._seconds) and time.monotonic() - self._saved >= self._seconds
        flags = (problem is not None, self._stop(), due and self._ranks.leads)
        failed, self._stopping, self._due = self._ranks.any_of(flags)
        if problem is not None:
            raise TrainingError(problem)
        if failed:
            raise OtherRankFailed("training failed on another rank: see its message")

    def after_update(self, where: str) -> None:
        """Write a checkpoint, or stop.

        Args:
            where: Where in the run this is, for the message.

        Raises:
            Stopped: If any rank was asked to stop; a checkpoint has been written.
        """
        if self._stopping or self._due:
            self._save()
            self._saved = time.monotonic()
        if self._stopping:
            raise Stopped(f"stopped {where}: go on with the same command and --resume")
