"""The scaling plan: what it counts is what the code does, and the page says what it prints."""

from __future__ import annotations

import runpy
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache_store.backend import ObjectInfo
from cache_store.memory_backend import MemoryBackend
from cache_store.store import SaliencyStore
from pipeline.bench import growth
from pipeline.bench.random_maps import random_plan, write_random
from pipeline.refresh.blocks import cut_blocks

ROOT = Path(__file__).parent.parent.parent
# More than two chunks of the columns, so that these are counted too.
NUM = 140_000


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks" / "scaling_plan.py"))


def test_page_prints_what_the_script_prints(script: dict[str, Any]) -> None:
    printed = script["report"](script["Assumed"]())
    page = (ROOT / "docs" / "scaling.md").read_text()
    for made in printed.split("\n\n"):
        assert made in page


def test_each_measured_figure_stands_in_the_figures_page(script: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    figures = {name: f for name, f in script.items() if isinstance(f, script["Measured"])}
    assert len(figures) > 10
    for name, figure in figures.items():
        assert figure.words in page, name


def test_assumptions_are_options_that_the_page_names(script: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "scaling.md").read_text()
    assumed, case = script["Assumed"](), script["CASES"][1]
    slow = replace(assumed, gpu_speed=assumed.gpu_speed / 10)
    assert script["_compute"](case, assumed)["network, one GPU *"] == "8.9 min"
    assert script["_compute"](case, slow)["network, one GPU *"] == "89 min"
    for option in ("--gpu-speed", "--gpus", "--request-ms"):
        assert option in page


def test_tasks_are_the_blocks_that_a_refresh_cuts(script: dict[str, Any]) -> None:
    for case in script["CASES"][:3]:
        assert case.num_tasks == len(cut_blocks(case.num, case.block_rows))


class _Counting(MemoryBackend):
    """Counts each request by name, and what it lists."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.calls: Counter[str] = Counter()

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401
        if name in ("read", "write", "create", "delete", "length"):
            object.__getattribute__(self, "calls")[name] += 1
        return object.__getattribute__(self, name)

    def list(self, prefix: str) -> list[ObjectInfo]:
        found = super().list(prefix)
        self.calls["listed"] += len(found)
        return found

    def taken(self) -> float:
        """Return the requests since the last time; `length` asks by `read`, which is no second."""
        calls, self.calls = self.calls, Counter()
        listed = calls.pop("listed", 0)
        return sum(calls.values()) - calls["length"] + listed / growth.LISTED_AT_ONCE


def test_requests_and_manifest_are_those_of_a_real_refresh() -> None:
    plan = random_plan(NUM, 2, 8, data="data", fingerprint="0" * 64)
    ids = np.arange(NUM, dtype=np.uint64)
    made = SaliencyStore.create(
        "memory://growth-whole", sample_ids=ids, content_ids=ids, labels=ids.astype(np.int64),
        fingerprint="0" * 64, data="data",
    )  # fmt: skip
    backend = _Counting(made.url)
    store = SaliencyStore(backend, made.identity, writable=True)
    store.begin(plan).pending()
    of_blocks: list[float] = []
    generation = write_random(
        store, plan, before_publishing=lambda: of_blocks.append(backend.taken())
    )
    publishing = backend.taken()
    expected = growth.count_requests(plan)
    assert expected.blocks == pytest.approx(of_blocks[0], abs=2)
    assert expected.publishing == pytest.approx(publishing, abs=2)
    metadata = [key for key in generation.manifest.objects if key.endswith("zarr.json")]
    assert growth.num_objects(plan) == len(generation.manifest.objects) - len(metadata)
    assert growth.manifest_bytes(plan) == pytest.approx(len(generation.manifest.encode()), rel=0.1)


def test_memory_is_measured_near_the_figures_of_the_page(script: dict[str, Any]) -> None:
    # Python's own objects differ a little from version to version, arrays do not.
    assert growth.manifest_heap_bytes(20_000) == pytest.approx(
        script["ENTRY_BYTES"].value, rel=0.25
    )
    assert growth.match_bytes(same_order=True) == pytest.approx(script["MATCH_BYTES"].value, abs=1)
    assert growth.order_bytes() == pytest.approx(script["ORDER_BYTES"].value, abs=1)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0004, "0.4 ms"), (0.3, "300 ms"), (77, "77 s"), (7300, "2.0 h")]
)
def test_times_are_written_in_the_unit_that_fits(
    seconds: float, text: str, script: dict[str, Any]
) -> None:
    assert script["_time"](seconds) == text
