"""Collection: removing old generations and whatever dead jobs left behind.

A generation goes in this order: mark in its plan, pointer, manifest, data, plan. So a kill at any
point leaves either a whole visible generation or leftovers that the next collection removes; the
highest plan always stays, so that no number is ever given twice.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from cache_store.backend import Backend, ObjectInfo
from cache_store.errors import ScaeError, StoreError
from cache_store.layout import (
    GENERATIONS,
    MANIFESTS,
    PLANS,
    PUBLISHED,
    RECEIPTS,
    generation_key,
    manifest_key,
    plan_key,
    receipts_key,
    record_number,
)
from cache_store.leases import LeaseInfo, condemn, is_condemned, read_leases
from cache_store.records import decode_record, encode_record

TOMBSTONE = "collected"
"""Field of the record that takes the manifest's place, so that no late writer can publish."""
TOMBSTONE_BYTES = 512
"""Manifests are longer, tombstones shorter than this."""
CLOCK_STEP_SECONDS = 0.02
"""Files written this close to each other may carry the same time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GcReport:
    """What a collection did, or would do."""

    removed: tuple[str, ...]
    """Keys of the objects removed, in that order."""
    generations: tuple[int, ...]
    """Published generations among them, oldest first."""
    held: dict[int, str]
    """Generation -> why it stays."""
    freed_bytes: int
    """Bytes of the objects removed."""
    dry_run: bool
    """Whether nothing was removed in fact."""


def collect(backend: Backend, *, keep: int, dry_run: bool, grace_seconds: float) -> GcReport:
    """Remove what no reader or writer can need any more; several at once do no harm.

    Args:
        backend: The cache.
        keep: Newest published generations that stay, at least 1.
        dry_run: Report only.
        grace_seconds: What was in use less than this long ago, by the store's clock, stays.

    Raises:
        StoreError: If an argument is out of range, or the store can't be written.
    """
    if keep < 1 or grace_seconds < 0:
        raise StoreError(
            f"keep must be at least 1 and grace_seconds at least 0, got {keep} and {grace_seconds}"
        )
    run = _Run(backend, keep, grace_seconds, dry_run=dry_run)
    for number in sorted(run.numbers):
        run.consider(number)
    run.remove_small_leftovers()
    return GcReport(
        removed=tuple(run.removed),
        generations=tuple(run.generations),
        held=run.held,
        freed_bytes=run.freed_bytes,
        dry_run=dry_run,
    )


def is_tombstone(data: bytes | None) -> bool:
    """Tell whether the bytes under a manifest's key say that the generation was collected."""
    if data is None or len(data) > TOMBSTONE_BYTES:
        return False
    try:
        return bool(decode_record(data, "").get(TOMBSTONE))
    except ScaeError:
        return False


@dataclass
class _Traces:
    """What a listing shows of one generation."""

    pointer: ObjectInfo | None = None
    manifest: ObjectInfo | None = None
    plan: ObjectInfo | None = None
    receipts: list[ObjectInfo] = field(default_factory=list)
    data: list[ObjectInfo] = field(default_factory=list)

    def last_write(self) -> float:
        singles = (info for info in (self.plan, self.manifest) if info is not None)
        return max((info.modified for info in (*singles, *self.receipts, *self.data)), default=0.0)


class _Run:
    """One collection: what was there when it began, and what it has removed so far."""

    def __init__(self, backend: Backend, keep: int, grace: float, *, dry_run: bool) -> None:
        self._backend = backend
        self._grace = grace
        self._dry_run = dry_run
        self._now = backend.now()
        self._leases = read_leases(backend)
        self.removed: list[str] = []
        self.generations: list[int] = []
        self.held: dict[int, str] = {}
        self.freed_bytes = 0
        self.numbers = _traces(backend)
        self._buried = {
            number
            for number, traces in self.numbers.items()
            if traces.manifest is not None
            and traces.manifest.length <= TOMBSTONE_BYTES
            and is_tombstone(backend.read(manifest_key(number)))
        }
        self._published = sorted(
            number
            for number, traces in self.numbers.items()
            if traces.pointer is not None and number not in self._buried
        )
        # A pointer whose manifest is lost does not count as one of those kept.
        whole = [number for number in self._published if self.numbers[number].manifest is not None]
        self._newest = whole[-keep:]
        self._highest_plan = max(
            (number for number, traces in self.numbers.items() if traces.plan), default=0
        )

    def consider(self, number: int) -> None:
        """Remove one generation unless something holds it."""
        reason = self._reason_to_stay(number)
        if reason is not None:
            self.held[number] = reason
            self._acquit(number)
        elif number in self._published:
            self._remove_published(number)
        else:
            self._remove_unfinished(number)

    def remove_small_leftovers(self) -> None:
        """Remove ended leases, files of writers that were killed, and receipts of what is done."""
        for lease in self._leases:
            if self._now - lease.expires >= self._grace:
                self._remove([ObjectInfo(lease.key, lease.length, lease.expires)])
        # Only what is older than this run: other readers and collections write at any time.
        oldest = self._now - max(self._grace, CLOCK_STEP_SECONDS)
        self._remove(info for info in self._backend.leftovers() if info.modified < oldest)
        for number in self._published:
            receipts = self.numbers[number].receipts
            self._remove(info for info in receipts if self._is_old(info.modified))

    def _reason_to_stay(self, number: int) -> str | None:
        if number in self._published[-1:]:
            return "latest"
        if number in self._newest:
            return f"among the newest {len(self._newest)}"
        owner = self._owner_of(number, self._leases)
        if owner is not None:
            return f"lease of {owner}"
        if not self._is_old(self._last_use(number)):
            return "younger than grace" if number in self._published else "unfinished, still young"
        return None

    def _last_use(self, number: int) -> float:
        """Return until when a generation was the latest, or being written."""
        if number in self._published:
            successor = self._published[self._published.index(number) + 1]
            pointer = self.numbers[successor].pointer
            return pointer.modified if pointer is not None else self._now
        traces = self.numbers[number]
        # What a collection began, the next one finishes at once.
        begun = traces.plan is not None and is_condemned(self._backend, number)
        return 0.0 if begun else traces.last_write()

    def _is_old(self, modified: float) -> bool:
        return self._now - modified >= self._grace

    def _owner_of(self, number: int, leases: list[LeaseInfo]) -> str | None:
        for lease in leases:
            if lease.generation == number and lease.expires > self._now:
                return lease.owner
        return None

    def _acquit(self, number: int) -> None:
        """Take back the mark on what can't be under collection any more."""
        if number in self._newest and not self._dry_run and is_condemned(self._backend, number):
            condemn(self._backend, number, condemned=False)

    def _remove_published(self, number: int) -> None:
        if not self._dry_run:
            condemn(self._backend, number)
            owner = self._owner_of(number, read_leases(self._backend))
            if owner is not None:  # taken since the first look, before the mark
                self.held[number] = f"lease of {owner}"
                return
        traces = self.numbers[number]
        self._remove(info for info in (traces.pointer, traces.manifest) if info is not None)
        self._remove([*traces.receipts, *traces.data])
        self._remove_plan(number)
        self.generations.append(number)

    def _remove_unfinished(self, number: int) -> None:
        traces = self.numbers[number]
        if number not in self._buried and not self._bury(number):
            self.held[number] = "published just now"
            return
        pointer = [] if traces.pointer is None else [traces.pointer]
        self._remove([*pointer, *traces.receipts, *traces.data])
        # The tombstone stays as long as a writer that has not seen it may be under way.
        settled = traces.manifest is not None and self._is_old(traces.manifest.modified)
        if self._grace == 0 or (number in self._buried and settled):
            if number < self._highest_plan:
                self._remove([ObjectInfo(manifest_key(number), *_size(traces.manifest))])
            self._remove_plan(number)

    def _bury(self, number: int) -> bool:
        """Put a tombstone where the manifest would be; False if a publisher was faster."""
        if self._dry_run:
            return True
        condemn(self._backend, number)
        tombstone = encode_record({"generation": number, TOMBSTONE: True})
        if self.numbers[number].manifest is not None:
            self._backend.write(manifest_key(number), tombstone)
            return True
        if self._backend.create(manifest_key(number), tombstone):
            return True
        if is_tombstone(self._backend.read(manifest_key(number))):
            return True  # another collection's
        condemn(self._backend, number, condemned=False)
        return False

    def _remove_plan(self, number: int) -> None:
        plan = self.numbers[number].plan
        if number < self._highest_plan:
            self._remove([ObjectInfo(plan_key(number), *_size(plan))])

    def _remove(self, objects: Iterable[ObjectInfo]) -> None:
        for info in objects:
            if not self._dry_run:
                self._backend.delete(info.key)
            self.removed.append(info.key)
            self.freed_bytes += info.length


def _size(info: ObjectInfo | None) -> tuple[int, float]:
    return (0, 0.0) if info is None else (info.length, info.modified)


def _traces(backend: Backend) -> dict[int, _Traces]:
    found: dict[int, _Traces] = {}
    # The plans first and the pointers last: nothing published meanwhile looks unfinished.
    for info in backend.list(PLANS):
        if (number := record_number(info.key)) is not None:
            found.setdefault(number, _Traces()).plan = info
    for folder in (GENERATIONS, RECEIPTS):
        for info in backend.list(folder):
            if (number := _folder_number(info.key, folder)) is not None:
                traces = found.setdefault(number, _Traces())
                (traces.data if folder == GENERATIONS else traces.receipts).append(info)
    for info in backend.list(MANIFESTS):
        if (number := record_number(info.key)) is not None:
            found.setdefault(number, _Traces()).manifest = info
    for info in backend.list(PUBLISHED):
        if (number := record_number(info.key)) is not None:
            found.setdefault(number, _Traces()).pointer = info
    return found


def _folder_number(key: str, folder: str) -> int | None:
    name = key.removeprefix(f"{folder}/").split("/", 1)[0]
    number = int(name) if name.isdecimal() else 0
    ours = (f"{generation_key(number)}/", f"{receipts_key(number)}/")
    return number if number and key.startswith(ours) else None
