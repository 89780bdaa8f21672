"""The cache: can it be opened, read, written, and does the node have room for its maps?"""

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cache_store.backend import Backend, open_backend
from cache_store.errors import CacheNotFoundError, ScaeError
from cache_store.local_backend import PARTIAL_SUFFIX, LocalBackend
from cache_store.object_backend import PROBES
from cli.doctor_check import OK, PROBLEM, WARNING, Check, size_text
from cli.doctor_machine import room_check

if TYPE_CHECKING:
    from cache_store.generation import Generation

RESIDENT = "set SCAE_RESIDENT_DIR to a folder with room"


def cache_checks(url: str | None) -> Iterator[Check]:
    """Check a cache; nothing without one."""
    if url is None:
        return
    try:
        backend = open_backend(url)
    except ScaeError as error:
        yield Check.of_error("cache", error)
        return
    there, checks = _reading(url)
    yield from checks
    if checks[0].status == PROBLEM:
        return
    if isinstance(backend, LocalBackend):
        place = _nearest(backend.root)
        yield room_check("cache room", place, "`scae cache gc` removes old generations")
        if not there:
            yield _may_make(backend, place)
            return
    yield _writing(backend, there=there)


def _reading(url: str) -> tuple[bool, list[Check]]:
    """Return whether there is a cache, and how reading it went."""
    from cache_store.store import SaliencyStore

    try:
        store = SaliencyStore.open(url)
    except CacheNotFoundError as error:
        return False, [Check("cache", WARNING, str(error))]
    except ScaeError as error:
        return False, [Check.of_error("cache", error)]
    try:
        generation = store.latest()
    except CacheNotFoundError as error:
        return True, [Check("cache", WARNING, str(error))]
    except ScaeError as error:
        return True, [Check.of_error("cache", error)]
    height, width = generation.manifest.plan.map_shape
    found = f"generation {generation.number}, {len(generation)} maps of {height}x{width}, {url}"
    return True, [Check("cache", OK, found), *_resident_room(generation)]


def _resident_room(generation: "Generation") -> list[Check]:
    from cache_store.resident import resident_folder
    from cache_store.resident_file import file_bytes

    try:
        folder = resident_folder()
    except ScaeError:  # has a line of its own among the machine's
        return []
    needed = file_bytes(len(generation), generation.manifest.plan.map_shape)
    free = shutil.disk_usage(folder).free
    found = f"{size_text(needed)} a generation, {size_text(free)} free in {folder}"
    # The next generation is made while this one is in use.
    status = PROBLEM if free < needed else WARNING if free < 2 * needed else OK
    return [Check("cache's maps", status, found, "" if status == OK else RESIDENT)]


def _may_make(backend: Backend, place: Path) -> Check:
    if not place.is_dir():
        return Check("cache writes", PROBLEM, f"{place} is no folder", "name another --cache")
    if os.access(place, os.W_OK):
        return Check("cache writes", OK, f"{backend.url} can be made")
    return Check("cache writes", PROBLEM, f"{place} is not writable", "name another --cache")


def _writing(backend: Backend, *, there: bool) -> Check:
    """Create an object twice: the store must refuse the second one."""
    name = "cache writes"
    key = f"{PROBES}/doctor-{uuid.uuid4().hex}{PARTIAL_SUFFIX}"
    try:
        try:
            first, second = backend.create(key, b"first"), backend.create(key, b"second")
        finally:
            backend.delete(key)
    except (ScaeError, OSError) as error:
        problem = Check.of_error(name, error)
        if not there:
            return problem
        return Check(name, WARNING, problem.found, "training only reads; a refresh has to write")
    if not first or second:
        found = f"{backend.url} lets two writers create one object"
        return Check(name, PROBLEM, found, "use a file system or store that enforces it")
    return Check(name, OK, "an object is created once, whoever tries again")


def _nearest(path: Path) -> Path:
    """Return the path, or the closest of its parents that is there."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
