"""A process that refreshes and reads caches of formula maps, and dies where it is told to.

Run by path: one JSON job a line on stdin, one JSON answer a line on stdout. Every job runs in a
fork of this process, so that NumPy and Zarr are imported once and a SIGKILL costs milliseconds.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cache_store.errors import CacheNotFoundError
from cache_store.generation import Generation
from cache_store.provenance import Provenance
from cache_store.store import SaliencyStore
from cache_store.writer import GenerationPlan

Job = dict[str, Any]

OPTIONS = ("fsync", "keep", "grace")
"""Fields of a job that `refresh` takes by name."""

NUM_SAMPLES = 20
FINGERPRINT = "f" * 64


def formula_maps(start: int, stop: int, salt: int) -> NDArray[np.uint8]:
    """Return the maps of rows start .. stop - 1, (B, 3, 4) uint8."""
    cells = np.arange(12, dtype=np.int64).reshape(1, 3, 4)
    rows = np.arange(start, stop, dtype=np.int64).reshape(-1, 1, 1)
    return ((rows * 37 + cells * 11 + salt * 5) % 256).astype(np.uint8)


def probability(maps: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return a function of the maps, (B,) float64 in [0, 1), that float16 holds exactly."""
    values: NDArray[np.float64] = maps[:, 0, 0] / 256
    return values


def make_plan(salt: int) -> GenerationPlan:
    """Return the plan of one salt; the weights' digest says which."""
    provenance = Provenance(
        data="toy",
        fingerprint=FINGERPRINT,
        network="resnet8",
        weights="random",
        weights_digest=f"{salt:064x}",
        target_layer="layer3",
        size=32,
        mean=(0.5,),
        std=(0.25,),
        batch_size=4,
        channels_last=False,
        precision="fp32",
        device_type="cpu",
        code_version="0",
    )
    return GenerationPlan(
        provenance=provenance,
        num_samples=NUM_SAMPLES,
        map_shape=(3, 4),
        block_rows=8,
        chunk_rows=4,
    )


def refresh(
    url: str, salt: int, *, fsync: bool, keep: int | None = None, grace: float = 0.0
) -> Generation:
    """Write, publish and, if asked, collect, as a refresh job does: a rerun does only the rest."""
    ids = np.arange(NUM_SAMPLES, dtype=np.uint64) + np.uint64(100)
    store = SaliencyStore.create(
        url,
        sample_ids=ids,
        content_ids=ids * np.uint64(3),
        labels=np.arange(NUM_SAMPLES) % 4,
        fingerprint=FINGERPRINT,
        data="toy",
        fsync=fsync,
    )
    plan = make_plan(salt)
    latest = store.latest() if store.generations() else None
    if latest is None or latest.manifest.plan.digest() != plan.digest():
        writer = store.begin(plan)
        for block in writer.pending():
            maps = formula_maps(*writer.block_range(block), salt)
            writer.write_block(block, maps, probability(maps), ())
        latest = store.publish(writer)
    if keep is not None:
        store.gc(keep=keep, grace_seconds=grace)
    return latest


def check_whole(generation: Generation) -> None:
    """Raise unless every value is the one of the salt that the provenance names."""
    salt = int(generation.provenance.weights_digest, 16)
    expected = formula_maps(0, NUM_SAMPLES, salt)
    pairs: list[tuple[str, Any, Any]] = [("saliency", generation.saliency[:], expected)]
    pairs.append(("probability", generation.probabilities, probability(expected)))
    for name, got, wanted in pairs:
        if not np.array_equal(got, wanted):
            raise ValueError(f"{name} of generation {generation.number} is not that of salt {salt}")


def read_many(url: str, until: int, *, lease: bool) -> int:
    """Read the latest generation again and again until number `until`; return how often."""
    seen = reads = 0
    while seen < until:
        try:
            store = SaliencyStore.open(url)
            generation = store.latest()
        except CacheNotFoundError:
            continue
        if generation.number < seen:
            raise ValueError(f"latest went back from {seen} to {generation.number}")
        seen = generation.number
        if lease:
            with store.lease(seen, owner="race reader"):
                check_whole(generation)
        else:
            check_whole(generation)
        reads += 1
    return reads


class Fuse:
    """Counts storage operations and kills this process before number `die_at`."""

    def __init__(self, die_at: int | None) -> None:
        self.count = 0
        self._die_at = die_at

    def step(self) -> None:
        """Count a moment between two storage operations."""
        self.count += 1
        if self.count == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` with a moment before and one after it."""

        def counted(*args: Any, **keywords: Any) -> Any:  # noqa: ANN401
            self.step()
            result = function(*args, **keywords)
            self.step()
            return result

        return counted


class FusedFile:
    """A file open for writing whose every write is done in two halves."""

    def __init__(self, file: IO[Any], fuse: Fuse) -> None:
        self._file = file
        self._fuse = fuse

    def __enter__(self) -> FusedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._fuse.step()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        """Write and flush one half, then the other."""
        half = len(data) // 2
        self._file.write(data[:half])
        self._file.flush()
        self._fuse.step()
        self._file.write(data[half:])
        return len(data)


def arm(fuse: Fuse) -> None:
    """Count the system calls that change a file system; for good, in a fork made for one job."""
    for name in ("link", "fsync", "replace", "rename", "unlink", "remove", "mkdir", "rmdir"):
        setattr(os, name, fuse.around(getattr(os, name)))
    plain_open = io.open

    def counted_open(file: Any, mode: str = "r", *args: Any, **keywords: Any) -> Any:  # noqa: ANN401
        if not set(mode) & set("wxa+"):
            return plain_open(file, mode, *args, **keywords)
        fuse.step()
        opened = plain_open(file, mode, *args, **keywords)
        fuse.step()
        return FusedFile(opened, fuse)

    io.open = counted_open


def run(job: Job) -> Job:
    """Do one job in this very process."""
    url = job["url"]
    options = {"fsync": False, **{name: job[name] for name in OPTIONS if name in job}}
    match job["do"]:
        case "refresh":
            fuse = Fuse(job.get("die_at"))
            arm(fuse)
            generation = refresh(url, job["salt"], **options)
            return {
                "number": generation.number,
                "digest": generation.digest,
                "steps": fuse.count,
            }
        case "publish many":
            for salt in range(job["first"], job["first"] + job["count"]):
                refresh(url, salt, **options)
            return {}
        case "read many":
            return {"reads": read_many(url, job["until"], lease=job.get("lease", False))}
    raise ValueError(f"job must be refresh, publish many or read many, got {job['do']!r}")


def run_forked(job: Job) -> Job:
    """Do one job in a fork and wait for it; kill it after `kill_after` seconds if that is given."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            answer = run(job)
        except BaseException as error:  # noqa: BLE001  # whatever it is belongs in the answer
            answer = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    timer = threading.Timer(job.get("kill_after", 1e6), os.kill, (pid, signal.SIGKILL))
    begun = time.perf_counter()
    if "kill_after" in job:
        timer.start()
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    timer.cancel()
    _, status = os.waitpid(pid, 0)
    killed = os.WIFSIGNALED(status)
    seconds = time.perf_counter() - begun
    return {"killed": killed, "seconds": seconds, **(json.loads(told) if told else {})}


def main() -> None:
    """Answer jobs until stdin ends."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(run_forked(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
