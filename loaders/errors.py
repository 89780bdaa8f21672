"""Errors of the loaders."""

from cache_store.errors import ScaeError


class DataError(ScaeError, ValueError):
    """Raised when a data set can't be opened, indexed or used as asked."""


class ImageReadError(DataError):
    """Raised when one image can't be decoded; the message names the file."""


class ChangedImageError(ImageReadError):
    """Raised when an image file is another than the one that was listed; the message names it."""


class GeometryError(ScaeError, TypeError):
    """Raised when a transform moves pixels in a way the saliency view does not follow."""


class OptionError(ScaeError, ValueError):
    """Raised when an option has a value outside its allowed range."""


class StateError(ScaeError, ValueError):
    """Raised when a saved position belongs to another loader than the one that loads it."""
