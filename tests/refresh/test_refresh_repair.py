"""Repair puts back the very bytes that a manifest lists, or says why it can't."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cache_store.errors import CacheMismatchError
from cache_store.store import SaliencyStore
from cache_store.verify import verify_cache
from pipeline.refresh.job import execute
from pipeline.refresh.plan import RefreshOptions, plan_refresh
from pipeline.refresh.repair import repair_cache
from pipeline.refresh.repair_sources import RepairSources
from pipeline.refresh.runner import BlockRunner
from pipeline.refresh.sources import DataSource, NetworkSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from loaders.image_data import ArrayData
    from pipeline.refresh.blocks import Block
    from pipeline.refresh.runner import BlockResult

    Toy = Callable[..., ArrayData]

OPTIONS = RefreshOptions(size=16, batch_size=5, block_rows=8, chunk_rows=4)
SHARD = "generations/000001/saliency/c/{}/0/0"


def _sources(data: ArrayData, seed: int = 0) -> RepairSources:
    return RepairSources(
        data=lambda: data,
        network=lambda made_from, num_classes: NetworkSource(
            name=made_from.network, num_classes=num_classes, seed=seed
        ).build(),
    )


@pytest.fixture
def cache(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, toy_images: Toy) -> Path:
    """One generation of real maps of 40 samples in 5 blocks; computed once for all tests."""
    base = tmp_path_factory.getbasetemp() / "repair-cache"
    if not base.exists():
        data = toy_images()
        network = NetworkSource(name="resnet8", num_classes=4)
        built = network.build()
        source = DataSource(name="toy")
        plan = plan_refresh(source, network, base, OPTIONS, opened=data, built=built)
        execute(plan, opened=data, built=built)
    return shutil.copytree(base, tmp_path / "c")


def _contents(cache: Path) -> dict[str, bytes]:
    return {
        path.relative_to(cache).as_posix(): path.read_bytes()
        for path in sorted(cache.rglob("*"))
        if path.is_file()
    }


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.fixture
def computed_blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the blocks that are computed from now on."""
    blocks: list[int] = []
    plain = BlockRunner.compute

    def compute(
        self: BlockRunner, block: Block
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], BlockResult]:
        blocks.append(block.number)
        return plain(self, block)

    monkeypatch.setattr(BlockRunner, "compute", compute)
    return blocks


def test_every_object_but_the_manifest_is_put_back_to_the_bit(cache: Path, toy_images: Toy) -> None:
    contents, sources = _contents(cache), _sources(toy_images())
    for key, data in contents.items():
        (cache / key).unlink()
        report = repair_cache(cache, sources, threads=1)
        if "/manifests/" in key:
            assert not report.ok
            assert "run 'scae refresh' again" in report.hopeless[key]
            (cache / key).write_bytes(data)
            continue
        assert report.repaired == [key]
        assert report.ok
        if "/plans/" in key:  # when it was claimed is not known any more
            assert SaliencyStore.open(cache).latest().manifest.plan.digest() == _plan_digest(cache)
        else:
            assert (cache / key).read_bytes() == data, key
    assert verify_cache(cache).ok


def _plan_digest(cache: Path) -> str:
    from cache_store.backend import open_backend
    from cache_store.writer import GenerationPlan, read_plan

    return GenerationPlan.from_dict(read_plan(open_backend(cache), 1)["plan"]).digest()


def test_only_damaged_blocks_are_computed(
    cache: Path, toy_images: Toy, computed_blocks: list[int]
) -> None:
    contents = _contents(cache)
    for number in (1, 4):
        _flip(cache / SHARD.format(number))
    report = repair_cache(cache, _sources(toy_images()))
    assert report.repaired == [SHARD.format(1), SHARD.format(4)]
    assert computed_blocks == [1, 4]
    assert _contents(cache) == contents


def test_data_in_another_order_repairs_as_well(cache: Path, toy_images: Toy) -> None:
    contents = _contents(cache)
    for key in (SHARD.format(0), "samples/label/c/0"):
        (cache / key).unlink()
    order = np.random.default_rng(0).permutation(40).tolist()
    assert repair_cache(cache, _sources(toy_images(rows=order))).ok
    assert _contents(cache) == contents


def test_everything_but_manifest_and_pixels_lost_at_once_comes_back(
    cache: Path, toy_images: Toy
) -> None:
    contents = _contents(cache)
    for key in contents:
        if "/manifests/" not in key and "/plans/" not in key:
            (cache / key).unlink()
    report = repair_cache(cache, _sources(toy_images()))
    assert report.ok, report.hopeless
    assert _contents(cache) == contents


def test_without_data_what_follows_from_the_rest_is_put_back(cache: Path) -> None:
    (cache / SHARD.format(2)).unlink()
    for key in (
        "zarr.json",
        "_scae/published/000001.json",
        "generations/000001/saliency/zarr.json",
    ):
        _flip(cache / key)
    report = repair_cache(cache)
    assert len(report.repaired) == 3
    assert list(report.hopeless) == [SHARD.format(2)]
    assert "--data and --weights" in report.hopeless[SHARD.format(2)]


def test_other_data_and_other_weights_are_refused_with_both_digests(
    cache: Path, toy_images: Toy
) -> None:
    (cache / SHARD.format(0)).unlink()
    data = toy_images()
    made_from = SaliencyStore.open(cache).latest().provenance
    other = toy_images(39)
    message = rf"made from data with digest {made_from.fingerprint[:12]}.*{other.fingerprint[:12]}"
    with pytest.raises(CacheMismatchError, match=message):
        repair_cache(cache, _sources(other))
    weights = _sources(data, seed=1).network(made_from, 4).weights_digest
    message = rf"weights with digest {made_from.weights_digest[:12]}.*{weights[:12]}"
    with pytest.raises(CacheMismatchError, match=message):
        repair_cache(cache, _sources(data, seed=1))


def test_maps_that_come_out_differently_are_not_put_under_the_old_manifest(
    cache: Path, toy_images: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    _one_level_up(monkeypatch)
    (cache / SHARD.format(2)).unlink()
    before = _contents(cache)
    report = repair_cache(cache, _sources(toy_images()))
    assert "--allow-different" in report.hopeless[SHARD.format(2)]
    assert "up to 1 levels apart" in report.notes[0]
    assert _contents(cache) == before


def _one_level_up(monkeypatch: pytest.MonkeyPatch, levels: int = 1) -> None:
    plain = BlockRunner.compute

    def compute(
        self: BlockRunner, block: Block
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], BlockResult]:
        maps, probability, result = plain(self, block)
        step = np.where(maps[:, 0] < 128, levels, -levels)
        maps[:, 0] = (maps[:, 0] + step).astype(np.uint8)
        return maps, probability, result

    monkeypatch.setattr(BlockRunner, "compute", compute)


def test_different_maps_make_a_new_generation_when_allowed(
    cache: Path, toy_images: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = np.asarray(SaliencyStore.open(cache).latest().saliency[:]).astype(int)
    _one_level_up(monkeypatch)
    (cache / SHARD.format(2)).unlink()
    report = repair_cache(cache, _sources(toy_images()), allow_different=True)
    (published,) = report.published
    assert published.number == SaliencyStore.open(cache).latest().number == 2
    assert report.ok
    assert "generation 2 has it" in report.superseded[SHARD.format(2)]
    after = np.asarray(published.saliency[:]).astype(int)
    changed = np.flatnonzero((before != after).any(axis=(1, 2)))
    assert changed.tolist() == list(range(16, 24))
    assert np.abs(before - after).max() == 1
    assert published.verify().ok
    old = SaliencyStore.open(cache).generation(1)
    np.testing.assert_array_equal(published.probabilities, old.probabilities)


def test_maps_of_another_computation_are_refused_even_if_different_ones_are_allowed(
    cache: Path, toy_images: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    _one_level_up(monkeypatch, levels=7)
    (cache / SHARD.format(2)).unlink()
    report = repair_cache(cache, _sources(toy_images()), allow_different=True)
    assert report.published == []
    assert "up to 7 levels apart as well" in report.hopeless[SHARD.format(2)]
    assert SaliencyStore.open(cache).generations() == (1,)


def test_whole_cache_needs_no_repair_and_opens_no_data(cache: Path) -> None:
    def never(*_: object) -> ArrayData:
        raise RuntimeError

    sources = RepairSources(data=never, network=never)  # type: ignore[arg-type]
    report = repair_cache(cache, sources)
    assert report.ok
    assert report.repaired == []
