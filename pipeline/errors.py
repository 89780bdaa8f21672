"""Errors of the pipeline."""

from dataclasses import dataclass

from cache_store.errors import ScaeError


class NetworkError(ScaeError, ValueError):
    """Raised when a network, its weights or its target layer can't be used as asked."""


class RefreshError(ScaeError, RuntimeError):
    """Raised when a refresh can't be planned, run or published."""


@dataclass(frozen=True, slots=True)
class BlockFailure:
    """A block that could not be computed, however often it was tried."""

    block: int
    """Number of the block."""
    attempts: int
    """How often it was tried."""
    error: str
    """What went wrong the last time, with the sample's name where there is one."""
    by_network: bool = False
    """Whether it is the network's answer, which no further attempt changes."""


class BlocksFailed(RefreshError):  # noqa: N818  # a statement about blocks
    """Raised when blocks of a refresh failed; the others are done and nothing is published.

    Args:
        failures: What failed, in the order of the blocks.
        message: What that means for the job, with the cure.
    """

    def __init__(self, failures: tuple[BlockFailure, ...], message: str) -> None:
        super().__init__(message)
        self.failures = failures

    @property
    def by_network(self) -> bool:
        """Whether some blocks failed by the network's answer, so that trying again is in vain."""
        return any(failure.by_network for failure in self.failures)


class RecipeError(ScaeError, ValueError):
    """Raised when a recipe or an override of it is not valid."""


class Stopped(ScaeError, RuntimeError):  # noqa: N818  # a request that was obeyed, not a fault
    """Raised when a job was asked to stop and has done so in a way that can be resumed."""


class TrainingError(ScaeError, RuntimeError):
    """Raised when training can't go on."""


class OtherRankFailed(TrainingError):  # noqa: N818  # a statement about another process
    """Raised on a rank that is well when another one has failed, with that one's message."""


class FolderInUse(ScaeError, RuntimeError):  # noqa: N818  # a statement about a folder
    """Raised when another process works in a folder."""


class CantLock(ScaeError, RuntimeError):  # noqa: N818  # a statement about a file system
    """Raised when a folder can't be kept from other processes."""


class BenchError(ScaeError, ValueError):
    """Raised when a benchmark can't be run as asked, or its contenders disagree."""


class SweepError(ScaeError, RuntimeError):
    """Raised when a sweep of several runs can't be planned or begun."""
