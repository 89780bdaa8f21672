"""Repair of a damaged cache: only what is damaged is computed again, and only equal bytes go back.

Legend: N samples, R rows of a block, h, w height and width of a map, K classes.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from cache_store.backend import Backend, open_backend
from cache_store.books import Books, read_books
from cache_store.generation import Generation
from cache_store.layout import GENERATIONS, IDENTITY, MANIFESTS, PLANS, SAMPLES
from cache_store.leases import LEASES
from cache_store.mend import mend_identity, mend_metadata, mend_records
from cache_store.store import SaliencyStore
from cache_store.verify import verify_cache
from pipeline.refresh.repair_generation import GenerationRepair
from pipeline.refresh.repair_sources import RepairSources

Progress = Callable[[int, int], None]


@dataclass(kw_only=True, slots=True)
class RepairReport:
    """What a repair did."""

    repaired: list[str] = field(default_factory=list)
    """Keys that hold again what the manifest lists."""
    hopeless: dict[str, str] = field(default_factory=dict)
    """Key -> why it is still damaged, with the cure, of all others."""
    superseded: dict[str, str] = field(default_factory=dict)
    """Key -> where its content is now, of what is still damaged in an old generation."""
    published: list[Generation] = field(default_factory=list)
    """New generations made of what was intact and what was recomputed."""
    notes: list[str] = field(default_factory=list)
    """What the operator should know besides."""

    @property
    def ok(self) -> bool:
        """Whether nothing damaged is left but what a new generation replaces."""
        return not self.hopeless


def repair_cache(
    cache: str | Path,
    sources: RepairSources | None = None,
    *,
    generations: Collection[int] | None = None,
    allow_different: bool = False,
    threads: int = 8,
    progress: Progress = lambda _done, _total: None,
) -> RepairReport:
    """Put back what is damaged, computed anew from the plan in each manifest.

    Nothing is written under a manifest but the very bytes that it lists. Maps that come out
    differently go into a new generation, if that is allowed.

    Args:
        cache: The cache.
        sources: Where data and network are from; None repairs what needs neither.
        generations: Repair these and what all share; None repairs all.
        allow_different: Publish a new generation where recomputed maps are not byte-identical.
        threads: Objects verified at the same time.
        progress: Called with blocks done and blocks in all.

    Raises:
        CacheNotFoundError: If there is no cache, or no such generation.
        CacheMismatchError: If data or weights are not those that the maps were made from.
    """
    backend = open_backend(cache)
    found = verify_cache(cache, generations=generations, threads=threads)
    damaged = set(found.damaged)
    report = RepairReport()
    if not damaged:
        return report
    books = _books(backend, generations)
    _mend(backend, books, damaged, report)
    for number in sorted(books.manifests, reverse=True):
        left = damaged - set(report.repaired)
        # What all generations share is put back once, by the newest.
        repair = GenerationRepair(backend, books.manifests[number], left, sources)
        if repair.damaged:
            _repair_one(backend, repair, report, progress, allow_different=allow_different)
    # The number of classes may have been told by nothing but values that are back only now.
    _mend_metadata(backend, books, damaged, report)
    if IDENTITY in damaged and not _root_damaged(damaged - set(report.repaired)):
        if mend_identity(backend):
            report.repaired.append(IDENTITY)
    for key in sorted(damaged - set(report.repaired) - set(report.superseded)):
        report.hopeless.setdefault(key, _cure(key, backend.url))
    report.repaired.sort()
    return report


def _books(backend: Backend, generations: Collection[int] | None) -> Books:
    there = {info.key for info in backend.list("")}
    return read_books(backend, there, None if generations is None else set(generations))


def _mend(backend: Backend, books: Books, damaged: set[str], report: RepairReport) -> None:
    """Put back what needs neither data nor network."""
    report.repaired += mend_records(backend, books, damaged)
    _mend_metadata(backend, books, damaged, report)


def _mend_metadata(backend: Backend, books: Books, damaged: set[str], report: RepairReport) -> None:
    for manifest in books.manifests.values():
        left = damaged - set(report.repaired)
        report.repaired += mend_metadata(backend, manifest, left, books)


def _repair_one(
    backend: Backend,
    repair: GenerationRepair,
    report: RepairReport,
    progress: Progress,
    *,
    allow_different: bool,
) -> None:
    repair.run(progress)
    report.repaired += repair.repaired
    report.hopeless |= repair.hopeless
    if repair.different:
        _take_different(backend, repair, report, allow_different=allow_different)
    report.notes += repair.notes


def _take_different(
    backend: Backend, repair: GenerationRepair, report: RepairReport, *, allow_different: bool
) -> None:
    """Publish maps that came out differently as a new generation, or say why not."""
    number = repair.manifest.generation
    why = repair.why_no_new_generation()
    if why is None and not allow_different:
        why = "--allow-different puts it into a new generation, beside what is intact"
    differs = "computed anew it has other bytes than the manifest lists"
    if why is not None:
        report.hopeless |= {key: f"{differs}: {why}" for key in repair.different}
        return
    generation = repair.publish(SaliencyStore.open(backend.url, "r+"))
    report.published.append(generation)
    now = f"{differs}: generation {generation.number} has it, 'scae cache gc' removes {number}"
    report.superseded |= dict.fromkeys(repair.different, now)


def _root_damaged(damaged: set[str]) -> bool:
    return any(key == "zarr.json" or key.startswith(f"{SAMPLES}/") for key in damaged)


def _cure(key: str, url: str) -> str:
    if key.startswith(f"{MANIFESTS}/"):
        return (
            "a manifest can't be computed again (its time, software and checksums are known to "
            "nobody else): run 'scae refresh' again, which publishes the next generation"
        )
    if key.startswith(f"{PLANS}/"):
        return f"its generation was never finished: 'scae cache gc {url} --keep 2' removes it"
    if key.startswith(f"{LEASES}/"):
        return f"'scae cache gc {url} --keep 2' removes it once its time is over"
    if key.startswith(f"{GENERATIONS}/0"):
        return "no way to compute it is known: run 'scae refresh' again"
    return "nothing that is right says what it held: make the cache anew in another folder"
