"""Errors of the cache store, and the base class of every error a user of scae can cause."""


class ScaeError(Exception):
    """Base of all errors whose message is meant for the user, one line, with the cure."""


class StoreError(ScaeError):
    """Raised when a cache can't be read or written as asked."""


class CacheFormatError(StoreError, ValueError):
    """Raised when bytes under a cache are not what the format says they are."""


class CacheNotFoundError(StoreError, FileNotFoundError):
    """Raised when there is no cache, or no published generation, at the place named."""


class CacheMismatchError(StoreError, ValueError):
    """Raised when a cache was made for other data, weights or settings than those at hand."""


class DamagedCacheError(StoreError, OSError):
    """Raised when an object of a published generation is missing or has changed."""


class PublishConflictError(StoreError, FileExistsError):
    """Raised when another writer has claimed what this one wanted to create."""
