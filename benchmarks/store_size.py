"""What a cache of many 7x7 maps costs: bytes on disk, and time and memory of each step.

Run: .venv/bin/python -P benchmarks/store_size.py [--num 1281167] [--maps random|smooth|CACHE]
With a cache of 7x7 maps its own are repeated, mirrored and turned, no image twice in a chunk.
Every step is a process of its own, so that its peak of memory is its own as well.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_store.store import SaliencyStore
from cache_store.verify import verify_cache
from cache_store.writer import GenerationPlan
from pipeline.bench.random_maps import random_plan

IMAGENET = 1_281_167
SIDE = 7
NUM_CLASSES = 1000
READERS = (1, 2, 4)
"""Numbers of processes that read the resident file at once."""
CHUNK_ROWS = 256
Block = tuple[NDArray[np.uint8], NDArray[np.floating[Any]]]
"""Maps (B, 7, 7) uint8 and probabilities (B,) of one block."""
FINGERPRINT = "0" * 64


def smooth_maps(rng: np.random.Generator, num: int) -> NDArray[np.uint8]:
    """Return maps as Grad-CAM makes them: one or two hills, zero elsewhere, the maximum 255."""
    grid = np.arange(SIDE) + 0.5
    maps = rng.normal(0, 0.08, (num, SIDE, SIDE))
    for height in (1.0, 0.6):
        centres = rng.uniform(0, SIDE, (num, 2, 1))
        widths = rng.uniform(0.8, 2.5, (num, 1))
        rows, columns = (np.exp(-(((grid - centres[:, axis]) / widths) ** 2)) for axis in (0, 1))
        maps += height * rows[:, :, None] * columns[:, None, :]
    maps = np.maximum(maps - 0.1, 0)
    highest = np.maximum(maps.max((1, 2), keepdims=True), 1e-9)
    return np.rint(maps / highest * 255).astype(np.uint8)


def random_block(rng: np.random.Generator, num: int) -> Block:
    """Return maps that no codec makes smaller, and probabilities."""
    return rng.integers(0, 256, (num, SIDE, SIDE), np.uint8), rng.random(num)


def smooth_block(rng: np.random.Generator, num: int) -> Block:
    """Return maps as Grad-CAM makes them, and probabilities."""
    return smooth_maps(rng, num), rng.random(num)


def real_blocks(cache: str) -> Callable[[np.random.Generator, int], Block]:
    """Return what draws from the maps of a cache, no sample twice in a chunk."""
    generation = SaliencyStore.open(cache).latest()
    maps, probabilities = np.asarray(generation.saliency[:]), generation.probabilities
    if maps.shape[1:] != (SIDE, SIDE) or len(maps) < CHUNK_ROWS:
        raise SystemExit(
            f"{cache} must hold at least {CHUNK_ROWS} maps of {SIDE}x{SIDE}, got {maps.shape}"
        )
    turned = [np.rot90(maps, quarter, axes=(1, 2)) for quarter in range(4)]
    variants = np.stack([*turned, *(one[:, :, ::-1] for one in turned)])

    def draw(rng: np.random.Generator, num: int) -> Block:
        chunks = range(-(-num // CHUNK_ROWS))
        rows = np.concatenate([rng.permutation(len(maps))[:CHUNK_ROWS] for _ in chunks])[:num]
        return variants[rng.integers(0, len(variants), num), rows], probabilities[rows]

    return draw


def plan(num: int) -> GenerationPlan:
    """Return a plan of the default cut."""
    return random_plan(num, SIDE, 224, data="random", fingerprint=FINGERPRINT)


def step_create(cache: Path, arguments: argparse.Namespace) -> None:
    """Make the cache of as many samples."""
    rng = np.random.default_rng(1)
    SaliencyStore.create(
        cache,
        sample_ids=rng.permutation(arguments.num).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15),
        content_ids=rng.integers(0, 2**63, arguments.num).astype(np.uint64),
        labels=np.sort(rng.integers(0, NUM_CLASSES, arguments.num)),
        fingerprint=FINGERPRINT,
        data="random",
        fsync=arguments.fsync,
    )


def step_write(cache: Path, arguments: argparse.Namespace) -> None:
    """Write all blocks."""
    writer = SaliencyStore.open(cache, "r+", fsync=arguments.fsync).begin(plan(arguments.num))
    simple = {"random": random_block, "smooth": smooth_block}
    make = simple.get(arguments.maps) or real_blocks(arguments.maps)
    rng = np.random.default_rng(0)
    for block in range(writer.num_blocks):
        start, stop = writer.block_range(block)
        writer.write_block(block, *make(rng, stop - start), ())


def step_publish(cache: Path, arguments: argparse.Namespace) -> None:
    """Publish the generation."""
    store = SaliencyStore.open(cache, "r+", fsync=arguments.fsync)
    neighbours = np.tile(np.arange(5, dtype=np.int32), (NUM_CLASSES, 1))
    store.publish(store.begin(plan(arguments.num)), neighbours)


def step_verify(cache: Path, _arguments: argparse.Namespace) -> None:
    """Compare every object with the manifest."""
    report = verify_cache(cache)
    if not report.ok:
        raise SystemExit(f"damaged: {report.damaged}")


def step_open(cache: Path, _arguments: argparse.Namespace) -> None:
    """Open the latest generation."""
    SaliencyStore.open(cache).latest()


def step_resident(cache: Path, _arguments: argparse.Namespace) -> None:
    """Decode the generation into the resident file."""
    SaliencyStore.open(cache).latest().resident(cache.parent)


def step_find(cache: Path, _arguments: argparse.Namespace) -> None:
    """Open the resident file that is there."""
    SaliencyStore.open(cache).latest().resident(cache.parent)


def step_hold(cache: Path, _arguments: argparse.Namespace) -> None:
    """Read all resident maps, say so, and report memory once all readers hold them."""
    resident = SaliencyStore.open(cache).latest().resident(cache.parent)
    total = int(resident.maps.sum(dtype=np.int64)) + int(resident.gains.sum() > 0)
    sys.stdout.write(f"{total}\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(json.dumps(memory_mb()) + "\n")
    sys.stdout.flush()
    sys.stdin.readline()


def memory_mb() -> dict[str, float]:
    """Return this process' share of all memory mapped, and its own memory, in MB."""
    fields = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        fields[name.rstrip(":")] = int(value) * 1024 / 1e6
    return {"pss": fields["Pss"], "own": fields["Anonymous"]}


STEPS = {
    "create": step_create,
    "write": step_write,
    "publish": step_publish,
    "verify": step_verify,
    "open": step_open,
    "resident": step_resident,
    "find": step_find,
    "hold": step_hold,
}


def run_step(name: str, cache: Path, arguments: argparse.Namespace) -> None:
    """Run one step in this process and print what it cost."""
    before = time.perf_counter()
    STEPS[name](cache, arguments)
    seconds = time.perf_counter() - before
    if name != "hold":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        print(f"{name:10s} {seconds:9.2f} s   peak of memory {peak:7.0f} MB", flush=True)


def command(name: str, cache: Path) -> list[str]:
    """Return the command line of one step."""
    return [sys.executable, "-P", __file__, *sys.argv[1:], "--step", name, "--cache", str(cache)]


def print_sizes(cache: Path, num: int) -> None:
    """Print the bytes of all files by kind."""
    sizes: dict[str, int] = {}
    for path in cache.rglob("*"):
        if path.is_file():
            parts = path.relative_to(cache).parts
            kind = parts[2] if parts[0] == "generations" and len(parts) > 3 else parts[0]
            sizes[kind] = sizes.get(kind, 0) + path.stat().st_size
    maps = sizes["saliency"]
    print(f"{num:,} maps of {SIDE}x{SIDE}: {maps / 1e6:.1f} MB, raw {num * SIDE**2 / 1e6:.1f} MB")
    for kind, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"    {kind:18s} {size / 1e6:9.2f} MB")
    print(f"    {'all objects':18s} {sum(sizes.values()) / 1e6:9.2f} MB")


def print_readers(cache: Path) -> None:
    """Print the memory of processes that all hold the resident maps."""
    for count in READERS:
        readers = [
            subprocess.Popen(
                command("hold", cache), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(count)
        ]
        memories = _ask(readers)
        for reader in readers:
            reader.communicate("\n")
        pss = sum(memory["pss"] for memory in memories)
        own = max(memory["own"] for memory in memories)
        print(
            f"{count} readers: PSS of all {pss:.0f} MB, of each {pss / count:.0f} MB, "
            f"memory of its own at most {own:.0f} MB"
        )


def _ask(readers: list[subprocess.Popen[str]]) -> list[dict[str, float]]:
    answers: list[dict[str, float]] = []
    for reader in readers:
        _line(reader)
    for reader in readers:
        if reader.stdin is not None:
            reader.stdin.write("\n")
            reader.stdin.flush()
        answers.append(json.loads(_line(reader)))
    return answers


def _line(reader: subprocess.Popen[str]) -> str:
    return reader.stdout.readline() if reader.stdout is not None else ""


def main() -> None:
    """Run all steps, each in its process, and print sizes and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=IMAGENET)
    parser.add_argument("--maps", default="random", help="random, smooth, or a cache of 7x7 maps")
    parser.add_argument("--fsync", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the cache is made, and removed again")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        run_step(arguments.step, arguments.cache, arguments)
        return
    print(
        f"{arguments.num:,} {arguments.maps} maps, fsync {arguments.fsync}, {os.cpu_count()} cores"
    )
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        cache = Path(folder) / "maps.zarr"
        for name in STEPS:
            if name != "hold":
                subprocess.run(command(name, cache), check=True)
        print_sizes(cache, arguments.num)
        print_readers(cache)


if __name__ == "__main__":
    main()
