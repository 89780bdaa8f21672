"""How a run keeps in contact with whoever started it."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.training.epoch import StepProgress

Log = Callable[[str], None]
"""Called with each line for the user."""
Progressing = Callable[[str], StepProgress]
"""Given a label, returns the function that shows steps done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contact:
    """What long work asks and tells while it goes on."""

    log: Log
    """Called with each line for the user."""
    progress: Progressing
    """Shows steps."""
    stop: Callable[[], bool]
    """Asked now and then whether to stop."""
