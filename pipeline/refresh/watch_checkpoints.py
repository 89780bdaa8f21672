"""Checkpoints of a run as files: found by name, and pinned so that nobody takes them away.

A trainer removes old checkpoints, also one that is being refreshed from. So a wanted one gets a
second name, a hard link, in the watcher's own folder; that costs no space while the first is there.
"""

import os
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import RefreshError

DEFAULT_PATTERN = "epoch-{epoch}.pt"
"""Names of `scae train`; `{epoch}` is the 0-based epoch that is done, in any number of digits."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint as a listing shows it."""

    epoch: int
    """0-based epoch that is done."""
    path: Path
    """Its file."""
    signature: tuple[int, int]
    """Size in bytes and time of change in ns: what tells a rewritten file from this one."""


class CheckpointFolder:
    """The checkpoints of a run.

    Args:
        folder: Where the trainer writes them; it need not be there yet.
        pins: The watcher's own folder.
        pattern: Names of checkpoints, with `{epoch}` where the number is.

    Raises:
        RefreshError: If the pattern has no `{epoch}`, or names a folder.
    """

    def __init__(self, folder: Path, pins: Path, pattern: str = DEFAULT_PATTERN) -> None:
        before, mark, after = pattern.partition("{epoch}")
        if not mark or "/" in pattern or "{epoch}" in after:
            raise RefreshError(
                "pattern of checkpoints must be a file name with {epoch} in it once, such as "
                f"{DEFAULT_PATTERN}, got {pattern!r}"
            )
        self.folder = folder
        self._pins = pins
        self._name = re.compile(f"{re.escape(before)}([0-9]+){re.escape(after)}")
        self._pin_name = re.compile(r"epoch-([0-9]+)\.pt")

    def there(self) -> dict[int, Checkpoint]:
        """Return the checkpoints by epoch, pinned ones too; the trainer's own file comes first.

        A pin of an epoch that training has not reached is an earlier training's in this folder.
        """
        own = self.own()
        newest = max(own, default=-1)
        pinned = _listed(self._pins, self._pin_name)
        return {epoch: one for epoch, one in pinned.items() if epoch <= newest} | own

    def own(self) -> dict[int, Checkpoint]:
        """Return the trainer's own files by epoch."""
        return _listed(self.folder, self._name)

    def pin(self, checkpoint: Checkpoint) -> Checkpoint | None:
        """Give a checkpoint a name that its trainer does not remove; None if it is gone already.

        Raises:
            OSError: If the watcher's folder can't be written.
        """
        target = self._pin(checkpoint.epoch)
        if checkpoint.path == target:
            return checkpoint
        self._pins.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}.partial")
        try:
            _link_or_copy(checkpoint.path, partial)
            partial.replace(target)
        except FileNotFoundError:
            return None
        finally:
            # Still there also where both were names of one file: renaming does nothing then.
            partial.unlink(missing_ok=True)
        return Checkpoint(checkpoint.epoch, target, checkpoint.signature)

    def unpin(self, epoch: int) -> None:
        """Give up the second names of checkpoints up to an epoch."""
        for pinned in _listed(self._pins, self._pin_name).values():
            if pinned.epoch <= epoch:
                pinned.path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what a watcher left that was killed while it pinned."""
        for partial in self._pins.glob("epoch-*.partial"):
            partial.unlink(missing_ok=True)

    def _pin(self, epoch: int) -> Path:
        return self._pins / f"epoch-{epoch:04d}.pt"


def _listed(folder: Path, name: re.Pattern[str]) -> dict[int, Checkpoint]:
    found = {}
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    for entry in entries:
        matched = name.fullmatch(entry.name)
        if matched is None:
            continue
        try:
            status = entry.stat()
            is_file = entry.is_file()
        except FileNotFoundError:  # removed since the listing
            continue
        if is_file:
            epoch = int(matched[1])
            signature = (status.st_size, status.st_mtime_ns)
            found[epoch] = Checkpoint(epoch, Path(entry.path), signature)
    return found


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)
