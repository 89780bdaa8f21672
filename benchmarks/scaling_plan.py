"""What a refresh costs from CIFAR to a billion images: the tables of docs/scaling.md.

Run: .venv/bin/python -P benchmarks/scaling_plan.py
Counts and bytes come from the code itself: how it cuts blocks, what it lists in a manifest, how
often it asks the store. Times come from figures of docs/benchmarks.md, each named here with the
words that it stands in there. What was not measured is an option, and the table says so.
`--measure` prints the figures of the section "What grows with the data" there instead.
"""

import argparse
import itertools
import math
from dataclasses import dataclass, fields, replace

from cache_store.resident_file import file_bytes
from cache_store.writer import GenerationPlan
from pipeline.bench import growth
from pipeline.bench.random_maps import random_plan
from pipeline.bench.tables import table
from pipeline.refresh.policy import RefreshPolicy

EPOCHS, INTERVAL = 90, 4
"""T and R, for how old maps get."""
BLOCK_ROWS = (1024, 8192, 65_536)
"""Rows of a block, for a billion images."""
IMAGENET = 1_281_167
MEASURED_CELLS = 49
"""Cells of the maps whose bytes were measured."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure of docs/benchmarks.md."""

    value: float
    """The figure."""
    words: str
    """What docs/benchmarks.md says, so that a test finds it there."""


RESNET32 = Measured(1129.2, "| scae refresh, bf16, channels last | 1129.2 (")
RESNET50 = Measured(40.2, "| scae refresh, bf16, channels last | 40.2 (")
REFRESH_OF_EPOCH = Measured(0.255, "| 25.5 % (25.5 to 25.6) |")
DECODE_MS = Measured(2.1, "decoding 1.6 ms, squashing to 224x224\n0.4 ms, normalising 0.1 ms")
MAPS_MB = Measured(32.78, "| 32.78 MB |")
PROBABILITY_MB = Measured(2.11, "| 2.11 MB |")
SAMPLES_MB = Measured(15.38, "| 15.38 MB |")
DASK_MS = Measured(10.7, "**10.7 ms a block**")
REFRESH_BYTES = Measured(62, "| one Dask worker: driver | 756 MB | 817 MB | 1.081 | 62 |")
LISTING_S = Measured(6.52, "| 6.52 s (6.49 to 6.53) |")
INDEX_S = Measured(0.33, "**0.33 s (0.33 to 0.33)**")
RESIDENT_S = Measured(4.2, "once a node and generation, 4.2 s in that run")
CHECKSUM_S = Measured(0.0135, "Opening the resident file that is there takes 13.5 ms")
ENTRY_BYTES = Measured(317, "an entry of a manifest, in each process that has it open | 317 B |")
MATCH_BYTES = Measured(30, "finding the rows of samples in the cache's order | 30 B |")
OTHER_ORDER_BYTES = Measured(46, "finding the rows of samples in another order | 46 B |")
ORDER_BYTES = Measured(24, "the order of an epoch, in each rank | 24 B |")


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumed:
    """What was not measured here."""

    gpu_speed: float = 60.0
    """How many times as fast a GPU makes maps, and trains, as the 2 cores that were measured."""
    gpus: int = 8
    """GPUs that train, and refresh between epochs."""
    request_ms: float = 20.0
    """How long an object store takes to answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A data set and the network that explains it."""

    name: str
    """For the table."""
    num: int
    """Number of images."""
    cells: int = 7
    """Side of a map."""
    size: int = 224
    """Side of an image in pixels."""
    rate: float = RESNET50.value
    """Images a second of a refresh on 2 cores."""
    decode_ms: float = DECODE_MS.value
    """Processor time of an image before the network; 0 where images are in memory."""
    block_rows: int = 1024
    """Rows of a block."""

    @property
    def plan(self) -> GenerationPlan:
        """What is stored."""
        plan = random_plan(self.num, self.cells, self.size, data=self.name, fingerprint="0" * 64)
        return replace(plan, block_rows=self.block_rows)

    @property
    def num_tasks(self) -> int:
        """Blocks, which are tasks and shards."""
        return self.plan.saliency_spec(1).num_objects

    @property
    def cpu_seconds(self) -> float:
        """Time of the network on 2 cores."""
        return self.num / self.rate

    def as_imagenet(self, figure: float) -> float:
        """Scale a figure that was measured for ImageNet and grows with the images."""
        return figure * self.num / IMAGENET


CASES = (
    Case(name="CIFAR", num=50_000, cells=8, size=32, rate=RESNET32.value, decode_ms=0.0),
    Case(name="ImageNet-1K", num=IMAGENET),
    Case(name="ImageNet-21K", num=14_197_122),
    Case(name="a billion", num=10**9),
)


def main() -> None:
    """Print the tables, or measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for field in fields(Assumed):
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=type(field.default), default=field.default)
    parser.add_argument("--measure", action="store_true")
    options = vars(parser.parse_args())
    print(measure() if options.pop("measure") else report(Assumed(**options)))


def report(assumed: Assumed) -> str:
    """Return both tables as Markdown."""
    columns = [_column(case, assumed) for case in CASES]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    cuts = [_cut(replace(CASES[-1], block_rows=block_rows), assumed) for block_rows in BLOCK_ROWS]
    cut_rows = [[name, *(cut[name] for cut in cuts)] for name in cuts[0]]
    header = [f"{rows:,} rows a block" for rows in BLOCK_ROWS]
    return "\n\n".join(
        [
            table(["", *(case.name for case in CASES)], rows),
            table(["a billion images", *header], cut_rows),
        ]
    )


def _column(case: Case, assumed: Assumed) -> dict[str, str]:
    return {
        "images": f"{case.num:,}",
        "maps": f"{case.cells}x{case.cells}",
        **_store(case, assumed),
        **_compute(case, assumed),
        **_freshness(case, assumed),
        **_memory(case),
    }


def _store(case: Case, assumed: Assumed) -> dict[str, str]:
    plan = case.plan
    maps = MAPS_MB.value * case.cells**2 / MEASURED_CELLS
    asked = growth.count_requests(plan)
    return {
        "**store**": "",
        "tasks = shards": f"{case.num_tasks:,}",
        "objects of a generation": f"{growth.num_objects(plan):,}",
        "a generation": _bytes(case.as_imagenet(maps + PROBABILITY_MB.value) * 1e6),
        "ids, once a cache": _bytes(case.as_imagenet(SAMPLES_MB.value) * 1e6),
        "manifest": _bytes(growth.manifest_bytes(plan)),
        "requests of the blocks": _count(asked.blocks),
        "requests of the publication": _count(asked.publishing),
        "these one by one, object store *": _time(asked.publishing * assumed.request_ms / 1e3),
        "two samples share an id": _chance(case.num),
    }


def _compute(case: Case, assumed: Assumed) -> dict[str, str]:
    gpu_seconds = case.cpu_seconds / assumed.gpu_speed
    decode_seconds = case.num * case.decode_ms / 1e3
    return {
        "**a refresh**": "",
        "network, 2 cores": _time(case.cpu_seconds),
        "network, one GPU *": _time(gpu_seconds),
        f"network, {assumed.gpus} GPUs *": _time(gpu_seconds / assumed.gpus),
        "decoding, one core": _time(decode_seconds) if decode_seconds else "in memory",
        "cores that decode for a GPU *": f"{math.ceil(decode_seconds / gpu_seconds)}",
        "Dask's own time, one scheduler": _time(case.num_tasks * DASK_MS.value / 1e3),
        "listing files, first start": _time(case.as_imagenet(LISTING_S.value)),
        "index, later starts": _time(case.as_imagenet(INDEX_S.value)),
    }


def _freshness(case: Case, assumed: Assumed) -> dict[str, str]:
    refresh = case.cpu_seconds / assumed.gpu_speed / assumed.gpus
    epoch = refresh / REFRESH_OF_EPOCH.value
    oldest = [_oldest_epochs(lag) for lag in (0, math.ceil(refresh / epoch))]
    return {
        "**freshness**": "",
        f"an epoch, {assumed.gpus} GPUs *": _time(epoch),
        f"oldest maps, R = {INTERVAL}, made between epochs *": _age(oldest[0], epoch),
        f"oldest maps, R = {INTERVAL}, made beside training *": _age(oldest[1], epoch),
        "refreshes' share of training": f"{REFRESH_OF_EPOCH.value / INTERVAL:.1%}",
    }


def _oldest_epochs(lag: int) -> int:
    """Return how many epochs of training the oldest maps in use are behind, at most."""
    policy = RefreshPolicy(num_epochs=EPOCHS, interval=INTERVAL, lam=lambda _epoch: 1.0, lag=lag)
    made = policy.epochs()
    return max(
        policy.adopted_at(after) - (before + 1) for before, after in itertools.pairwise(made)
    )


def _age(epochs: int, epoch_seconds: float) -> str:
    return f"{epochs} epochs, {_time(epochs * epoch_seconds)}"


def _memory(case: Case) -> dict[str, str]:
    entries = growth.num_objects(case.plan)
    resident = file_bytes(case.num, (case.cells, case.cells))
    return {
        "**memory and disk**": "",
        "refresh, each process": _bytes(case.num * REFRESH_BYTES.value),
        "manifest, each process that has it open": _bytes(entries * ENTRY_BYTES.value),
        "finding rows, each loader process": _bytes(case.num * MATCH_BYTES.value),
        "the same, data in another order": _bytes(case.num * OTHER_ORDER_BYTES.value),
        "order of an epoch, each rank": _bytes(case.num * ORDER_BYTES.value),
        "resident file, each node": _bytes(resident),
        "making it": _time(case.as_imagenet(RESIDENT_S.value)),
        "opening it, each loader process": _time(case.as_imagenet(CHECKSUM_S.value)),
    }


def _cut(case: Case, assumed: Assumed) -> dict[str, str]:
    asked = growth.count_requests(case.plan)
    entries = growth.num_objects(case.plan)
    block_seconds = case.block_rows / case.rate
    return {
        "tasks = shards": f"{case.num_tasks:,}",
        "manifest": _bytes(growth.manifest_bytes(case.plan)),
        "the same in memory": _bytes(entries * ENTRY_BYTES.value),
        "requests of the publication": _count(asked.publishing),
        "these one by one, object store *": _time(asked.publishing * assumed.request_ms / 1e3),
        "Dask's own time, one scheduler": _time(case.num_tasks * DASK_MS.value / 1e3),
        "a block, 2 cores": _time(block_seconds),
        "a block, one GPU *": _time(block_seconds / assumed.gpu_speed),
    }


def _chance(num: int) -> str:
    """Return how likely two of `num` random 64-bit ids are the same (birthday problem)."""
    chance = -math.expm1(-num * (num - 1) / 2 / 2.0**64)
    return f"{chance:.1g}" if chance < 1e-3 else f"{chance:.1%}"


def _count(number: float) -> str:
    return f"{round(number):,}"


def _bytes(number: float) -> str:
    """Return decimal bytes with two digits or more."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= factor:
            scaled = number / factor
            return f"{scaled:.1f} {unit}" if scaled < 10 else f"{scaled:,.0f} {unit}"
    return f"{number:.0f} B"


def _time(seconds: float) -> str:
    """Return a time in the unit that fits."""
    for factor, unit in ((86_400, "days"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")):
        if seconds >= (2 * factor if factor > 1 else factor) or factor == 1e-3:
            scaled = seconds / factor
            return f"{scaled:.1f} {unit}" if scaled < 10 else f"{scaled:,.0f} {unit}"
    raise AssertionError("the last unit takes everything")


def measure() -> str:
    """Return the table of docs/benchmarks.md that this script makes."""
    rows = {
        "an entry of a manifest, in each process that has it open": growth.manifest_heap_bytes(
            1_000_000
        ),
        "finding the rows of samples in the cache's order": growth.match_bytes(same_order=True),
        "finding the rows of samples in another order": growth.match_bytes(same_order=False),
        "the order of an epoch, in each rank": growth.order_bytes(),
    }
    return table(["memory", "bytes"], [[name, f"{value:.0f} B"] for name, value in rows.items()])


if __name__ == "__main__":
    main()
