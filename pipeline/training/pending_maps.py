"""Maps that are on their way: which ones, and the checkpoints that they are made from.

What a run must not lose is in its checkpoints' rows: `refresh` says of each epoch whether its
weights were to make maps, `adopted` which maps the next epoch began with. A checkpoint that a
refresh reads is kept by a second name until no checkpoint that is left would need it.
"""

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import RecipeError, TrainingError
from pipeline.refresh.watch_checkpoints import CheckpointFolder
from pipeline.training.run_folder import Row, RunFolder

WANTED = "yes"
"""In column `refresh`: the weights after the epoch make maps."""


def pending_epochs(rows: Sequence[Row]) -> tuple[int, ...]:
    """Return the epochs whose maps are wanted and not adopted, oldest first.

    Args:
        rows: The epochs done so far.
    """
    adopted = last_adopted(rows)
    wanted = (row["epoch"] for row in rows if row.get("refresh") == WANTED)
    return tuple(epoch for epoch in wanted if epoch > adopted)


def last_adopted(rows: Sequence[Row]) -> int:
    """Return the newest epoch whose maps were adopted, -1 for none."""
    return max((row["adopted"] for row in rows if row.get("adopted") is not None), default=-1)


class KeptCheckpoints:
    """Checkpoints of a run that maps are made from.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._files = CheckpointFolder(folder.checkpoints, folder.refreshing)

    def keep(self, epoch: int) -> Path:
        """Return a file with the weights after an epoch that nobody takes away.

        Raises:
            RecipeError: If there is none any more.
            TrainingError: If it can't be kept.
        """
        there = self._files.there().get(epoch)
        try:
            kept = None if there is None else self._files.pin(there)
        except OSError as error:
            raise TrainingError(
                f"can't keep {self._folder.checkpoint_path(epoch)} in {self._folder.refreshing}: "
                f"{error.strerror}; make room, then go on with the same command and --resume"
            ) from error
        if kept is None:
            raise RecipeError(
                f"the weights after epoch {epoch}, which maps are to be made from, are not in "
                f"{self._folder.refreshing} any more: put the file back, or begin anew with "
                "another --run"
            )
        return kept.path

    def release(self, rows: Sequence[Row]) -> None:
        """Let go of files whose maps every checkpoint there has adopted.

        Args:
            rows: The epochs done so far.
        """
        oldest = min(self._files.own(), default=0)
        self._files.unpin(last_adopted([row for row in rows if row["epoch"] < oldest]))
