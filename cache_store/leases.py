"""Leases: a job's word that it reads a generation, so that no collection takes it away meanwhile.

A lease is one small object that its owner writes anew while it reads. When it was written is told
by the store's own clock, so clocks of different machines need not agree. Collection marks a
generation in its plan before it looks at the leases, an owner looks at the mark after it has
written its lease: of the two at least one sees the other.
"""

import logging
import os
import uuid
from dataclasses import dataclass
from typing import Any, Self

from cache_store.backend import Backend
from cache_store.errors import CacheNotFoundError, DamagedCacheError, ScaeError
from cache_store.layout import PUBLISHED, plan_key, record_number
from cache_store.records import decode_record, encode_record

LEASES = "_scae/leases"
LEASE_SECONDS = 180.0
"""How long a lease holds after it was last written."""
CONDEMNED = "condemned"
"""Field of a plan that a collection has marked; such a plan is never joined nor leased again."""

logger = logging.getLogger("scae")
_told: set[str] = set()


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaseInfo:
    """A lease as others see it."""

    key: str
    """Where it is stored."""
    length: int
    """Size of its object in bytes."""
    generation: int | None
    """What it protects, None if its record can't be read."""
    owner: str
    """Who holds it, for people."""
    expires: float
    """When it ends, in seconds of the store's clock."""


class Lease:
    """Protects one generation from collection until it is released or no longer renewed.

    Not inherited by child processes: in a fork every method does nothing.

    Args:
        backend: The cache.
        generation: Number of a published generation.
        owner: Who holds it, for people, such as a host and a job's id.
        seconds: How long it holds after each renewal, above 0.

    Raises:
        CacheNotFoundError: If that generation is not published, or just being collected.
    """

    def __init__(self, backend: Backend, generation: int, *, owner: str, seconds: float) -> None:
        if seconds <= 0:
            raise ValueError(f"seconds of a lease must be above 0, got {seconds}")
        self._backend = backend
        self._key = f"{LEASES}/{uuid.uuid4().hex}.json"
        self._owner = owner
        self._seconds = seconds
        self._pid = os.getpid()
        self.generation = generation
        self.held = self._write()
        self._check()

    def __repr__(self) -> str:
        state = "" if self.held else ", not held"
        return f"Lease(generation {self.generation} of {self._backend.url}{state})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def renew(self) -> None:
        """Hold for another `seconds` from now.

        Raises:
            CacheNotFoundError: If the lease had ended and the generation was collected.
        """
        if self.held and self._pid == os.getpid():
            self._write()
            self._check()

    def move(self, generation: int) -> None:
        """Protect another generation from now on, and the one so far no longer.

        Raises:
            CacheNotFoundError: If the new one is not published; the lease is released then.
        """
        if self._pid != os.getpid():
            return
        self.generation = generation
        if self.held:
            self._write()
        self._check()

    def release(self) -> None:
        """Give the lease up; doing it twice changes nothing."""
        if not self.held or self._pid != os.getpid():
            return
        self.held = False
        try:
            self._backend.delete(self._key)
        except (ScaeError, OSError) as error:  # it ends by itself, so nothing is lost
            logger.debug("lease %s can't be released: %s", self._key, error)

    def _write(self) -> bool:
        record = {"generation": self.generation, "owner": self._owner, "seconds": self._seconds}
        try:
            self._backend.write(self._key, encode_record(record))
        except (ScaeError, OSError) as error:
            if self._backend.url not in _told:
                _told.add(self._backend.url)
                logger.warning(
                    "cache %s is read without a lease, 'scae cache gc' may take generation %d away "
                    "meanwhile: %s",
                    self._backend.url,
                    self.generation,
                    error,
                )
            return False
        return True

    def _check(self) -> None:
        try:
            require_published(self._backend, self.generation)
        except CacheNotFoundError:
            self.release()
            raise


def require_published(backend: Backend, number: int) -> None:
    """Make sure that a generation is published and no collection is about to remove it.

    Raises:
        CacheNotFoundError: If it is not.
    """
    numbers = sorted(filter(None, (record_number(info.key) for info in backend.list(PUBLISHED))))
    # The latest is never collected, whatever its plan says.
    if number in numbers and (number == numbers[-1] or not is_condemned(backend, number)):
        return
    state = "is being collected" if number in numbers else "is not published"
    have = ", ".join(str(other) for other in numbers if other != number) or "none"
    raise CacheNotFoundError(
        f"generation {number} of cache {backend.url} {state}, others published are: {have}"
    )


def is_condemned(backend: Backend, number: int) -> bool:
    """Tell whether a collection has marked a generation's plan."""
    return bool(_plan_fields(backend, number).get(CONDEMNED))


def condemn(backend: Backend, number: int, *, condemned: bool = True) -> None:
    """Mark a generation's plan for collection, or take the mark back."""
    fields = _plan_fields(backend, number) or {"generation": number, "plan": None, "writer": ""}
    if bool(fields.get(CONDEMNED)) != condemned:
        backend.write(plan_key(number), encode_record({**fields, CONDEMNED: condemned}))


def read_leases(backend: Backend) -> list[LeaseInfo]:
    """Read all leases, ended ones too."""
    leases = []
    for info in backend.list(LEASES):
        data = backend.read(info.key)
        if data is None:  # released since the listing
            continue
        try:
            fields = decode_record(data, f"{backend.url}/{info.key}")
            generation, owner = int(fields["generation"]), str(fields["owner"])
            seconds = float(fields["seconds"])
        except (ScaeError, KeyError, TypeError, ValueError):
            generation, owner, seconds = None, "", LEASE_SECONDS
        leases.append(
            LeaseInfo(
                key=info.key,
                length=info.length,
                generation=generation,
                owner=owner,
                expires=info.modified + seconds,
            )
        )
    return leases


def _plan_fields(backend: Backend, number: int) -> dict[str, Any]:
    data = backend.read(plan_key(number))
    if data is None:
        return {}
    try:
        return decode_record(data, f"{backend.url}/{plan_key(number)}")
    except DamagedCacheError:
        return {}
