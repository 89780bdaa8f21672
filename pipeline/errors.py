"""Errors of the pipeline."""

from cache_store.errors import ScaeError


class NetworkError(ScaeError, ValueError):
    """Raised when a network, its weights or its target layer can't be used as asked."""


class RefreshError(ScaeError, RuntimeError):
    """Raised when a refresh can't be planned, run or published."""


class RecipeError(ScaeError, ValueError):
    """Raised when a recipe or an override of it is not valid."""


class Stopped(ScaeError, RuntimeError):  # noqa: N818  # a request that was obeyed, not a fault
    """Raised when a job was asked to stop and has done so in a way that can be resumed."""


class TrainingError(ScaeError, RuntimeError):
    """Raised when training can't go on."""


class BenchError(ScaeError, ValueError):
    """Raised when a benchmark can't be run as asked, or its contenders disagree."""
