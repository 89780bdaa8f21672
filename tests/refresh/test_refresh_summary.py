from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cache_store.store import SaliencyStore
from loaders.image_data import ArrayData
from pipeline.refresh.compare import compare_generations
from pipeline.refresh.job import RefreshReport, execute
from pipeline.refresh.map_sample import read_maps, sample_rows
from pipeline.refresh.plan import RefreshOptions, plan_refresh
from pipeline.refresh.quality import map_entropies
from pipeline.refresh.sources import DataSource, NetworkSource
from pipeline.refresh.summary import refresh_summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


def _refresh(
    data: ArrayData, cache: Path, *, seed: int = 0, layer: str | None = None
) -> RefreshReport:
    network = NetworkSource(name="resnet8", num_classes=data.num_classes, seed=seed)
    options = RefreshOptions(
        size=16, batch_size=8, block_rows=16, chunk_rows=8, channels_last=False, target_layer=layer
    )
    built = network.build()
    source = DataSource(name=data.name)
    plan = plan_refresh(source, network, cache, options, opened=data, built=built)
    return execute(plan, opened=data, built=built)


def test_entropy_is_that_of_the_map_as_shares_over_its_maximum() -> None:
    maps = np.random.default_rng(0).integers(0, 256, (50, 3, 4)).astype(np.uint8)
    expected = stats.entropy(maps.reshape(50, 12).astype(float), axis=1) / np.log(12)
    np.testing.assert_allclose(map_entropies(maps), expected, atol=1e-12)


def test_entropy_is_0_for_one_cell_and_nan_for_flat_maps() -> None:
    maps = np.zeros((3, 2, 2), np.uint8)
    maps[0, 1, 0] = 255
    maps[1] = 9
    found = map_entropies(maps)
    assert found[0] == 0
    assert np.isnan(found[1:]).all()


def test_entropy_of_maps_of_one_cell_is_unknown() -> None:
    assert np.isnan(map_entropies(np.full((2, 1, 1), 5, np.uint8))).all()


@given(st.integers(1, 200_000), st.sampled_from([None, 32, 64, 2048]))
def test_sampled_rows_ascend_stay_inside_and_reach_both_ends(num: int, limit: int | None) -> None:
    rows = sample_rows(num, limit)
    assert len(rows) == (num if limit is None else min(num, limit))
    assert (np.diff(rows) > 0).all()
    assert rows[0] == 0
    assert rows[-1] == (31 if limit == 32 < num else num - 1)


def test_maps_of_chosen_rows_are_those_of_the_array(
    tmp_path: Path, make_store: Callable[..., SaliencyStore], publish: Callable[..., object]
) -> None:
    store = make_store(tmp_path / "c")
    publish(store)
    generation = store.latest()
    rows: NDArray[np.intp] = np.array([0, 1, 5, 6, 7, 19])
    np.testing.assert_array_equal(
        read_maps(generation, rows), np.asarray(generation.saliency[:])[rows]
    )


def test_sampled_comparison_is_that_of_the_sampled_rows(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    data = toy_images(96)
    first, second = (_refresh(data, tmp_path / "c", seed=seed).generation for seed in (0, 1))
    found = compare_generations(first, second, sample=64)
    assert (found.num_common, found.num_compared) == (96, 64)
    part = data.subset(sample_rows(96, 64).tolist())
    alone = [_refresh(part, tmp_path / f"alone{seed}", seed=seed).generation for seed in (0, 1)]
    whole = compare_generations(alone[0], alone[1])
    assert whole.num_compared == 64
    assert found.tv_distance == pytest.approx(whole.tv_distance, abs=2e-3)
    assert found.rank_correlation == pytest.approx(whole.rank_correlation, abs=1e-2)


def test_first_report_has_entropy_and_no_movement(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    data = toy_images()
    report = _refresh(data, tmp_path / "c")
    summary = refresh_summary(report, data)
    expected = map_entropies(np.asarray(report.generation.saliency[:]))
    assert summary.fields["mean_entropy"] == pytest.approx(np.nanmean(expected), abs=1e-4)
    assert summary.fields["moved"] is None
    assert summary.fields["pointing_game"] is None
    assert "moved since" not in summary.text
    assert f"mean entropy {np.nanmean(expected):.3f}" in summary.text


def test_later_reports_say_how_far_the_maps_moved(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    data = toy_images()
    first = _refresh(data, tmp_path / "c").generation
    report = _refresh(data, tmp_path / "c", seed=1)
    summary = refresh_summary(report, data)
    expected = compare_generations(first, report.generation)
    assert summary.fields["moved"] == {
        "since": 1,
        "lambda": 2.0,
        "num_compared": 40,
        "num_equal": expected.num_equal,
        "rank_correlation": expected.rank_correlation,
        "peaks_moved": expected.peaks_moved,
        "tv_distance": expected.tv_distance,
    }
    assert "moved since generation 1: rank correlation" in summary.text


def test_maps_of_another_shape_are_not_compared_and_the_report_says_so(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    data = toy_images()
    _refresh(data, tmp_path / "c")
    report = _refresh(data, tmp_path / "c", layer="layer2")
    summary = refresh_summary(report, data)
    assert summary.fields["moved"] is None
    assert "not compared with generation 1: maps of Generation(1" in summary.text


def test_every_unreadable_image_is_named_in_the_fields(
    tmp_path: Path, jpeg_folder: Callable[..., Path]
) -> None:
    folder = jpeg_folder()
    broken = [folder / label / f"{i:02d}.jpg" for label in ("cat", "dog", "emu") for i in range(8)]
    for path in broken:
        path.write_bytes(b"junk")
    source = DataSource(name=str(folder))
    network = NetworkSource(name="resnet8", num_classes=3)
    options = RefreshOptions(size=16, batch_size=8, on_error="skip")
    data = source.open()
    report = execute(plan_refresh(source, network, tmp_path / "c", options))
    summary = refresh_summary(report, data)
    assert summary.fields["skipped"] == [str(path) for path in broken]
    assert summary.fields["flat_share"] == pytest.approx(24 / 30, abs=1e-6)
    assert "24 images could not be read" in summary.text
    assert "and 4 more, all of them with --json" in summary.text
    assert "24 flat maps (80.0%): centres" in summary.text
