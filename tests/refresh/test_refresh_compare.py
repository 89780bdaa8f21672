from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy import stats

from cache_store.store import SaliencyStore
from cache_store.writer import GenerationPlan
from pipeline.errors import RefreshError
from pipeline.refresh import compare
from pipeline.refresh.compare import compare_generations
from pipeline.refresh.map_distances import average_ranks, peaks_moved, rank_correlations

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cache_store.generation import Generation

    Store = Callable[..., Generation]


@pytest.fixture
def store_maps(tmp_path: Path, make_plan: Callable[..., GenerationPlan]) -> Store:
    """Publish given maps (N, 3, 4) of samples with given ids in a cache of their own."""

    def store(name: str, maps: NDArray[np.uint8], ids: list[int], size: int = 32) -> Generation:
        plan = make_plan(len(maps), size=size)
        target = SaliencyStore.create(
            tmp_path / name,
            sample_ids=np.array(ids, np.uint64),
            content_ids=np.array(ids, np.uint64),
            labels=np.zeros(len(ids), np.int64),
            fingerprint=plan.provenance.fingerprint,
            data="toy",
        )
        writer = target.begin(plan)
        for block in writer.pending():
            start, stop = writer.block_range(block)
            writer.write_block(block, maps[start:stop], np.zeros(stop - start), ())
        return target.publish(writer)

    return store


def _random_maps(num: int, seed: int, levels: int = 256) -> NDArray[np.uint8]:
    maps = np.random.default_rng(seed).integers(0, levels, (num, 3, 4))
    return (maps * (255 // (levels - 1))).astype(np.uint8)


def _density(one: NDArray[np.uint8], size: int, lam: float) -> NDArray[np.float64]:
    """Eq. 4 as the paper writes it: upsample, normalise, exponentiate, divide by the sum."""
    up = torch.nn.functional.interpolate(
        torch.from_numpy(one / 255)[None, None],
        size=(size, size),
        mode="bilinear",
        align_corners=False,
    )[0, 0].numpy()
    spread = up.max() - up.min()
    unit = (up - up.min()) / spread if spread else np.zeros_like(up)
    weights = np.exp(lam * unit)
    density: NDArray[np.float64] = weights / weights.sum()
    return density


@pytest.mark.parametrize("levels", [2, 5, 256], ids=["many-ties", "ties", "few-ties"])
def test_ranks_and_correlations_are_scipys(levels: int) -> None:
    first, second = _random_maps(200, 1, levels), _random_maps(200, 2, levels)
    found = rank_correlations(first, second)
    ranks = average_ranks(first.reshape(200, 12))
    for row in range(200):
        np.testing.assert_array_equal(ranks[row], stats.rankdata(first[row].reshape(-1)))
        if first[row].std() and second[row].std():
            expected = stats.spearmanr(first[row].reshape(-1), second[row].reshape(-1)).statistic
            assert found[row] == pytest.approx(expected, abs=1e-12)


def test_flat_maps_have_no_rank_correlation() -> None:
    flat, other = np.full((1, 3, 4), 7, np.uint8), _random_maps(1, 0)
    assert np.isnan(rank_correlations(flat, other)).all()
    assert np.isnan(rank_correlations(flat, flat)).all()


def test_peak_has_moved_if_no_highest_cell_is_common() -> None:
    first = np.array([[[9, 1], [9, 0]], [[9, 1], [0, 0]], [[5, 5], [5, 5]]], np.uint8)
    second = np.array([[[3, 1], [4, 0]], [[0, 8], [0, 0]], [[0, 0], [0, 1]]], np.uint8)
    assert peaks_moved(first, second).tolist() == [False, True, False]


@pytest.mark.parametrize("lam", [2.0, -3.0, 0.0, 30.0])
def test_tv_distance_is_that_of_the_papers_densities(store_maps: Store, lam: float) -> None:
    maps = [_random_maps(9, 1), _random_maps(9, 2)]
    maps[0][4] = 0  # a flat map: uniform
    ids = list(range(9))
    sides = [store_maps(name, one, ids) for name, one in zip("ab", maps, strict=True)]
    found = compare_generations(sides[0], sides[1], lam=lam, num_worst=9)
    expected = [
        np.abs(_density(a, 32, lam) - _density(b, 32, lam)).sum() / 2
        for a, b in zip(*maps, strict=True)
    ]
    assert found.tv_distance == pytest.approx(np.mean(expected), abs=1e-6)
    for one in found.worst:
        assert one.tv_distance == pytest.approx(expected[one.first_row], abs=1e-6)
    worst = [one.tv_distance for one in found.worst]
    assert worst == sorted(worst, reverse=True)


def test_rows_are_matched_by_sample_id(store_maps: Store) -> None:
    maps = _random_maps(10, 3)
    order = [7, 2, 9, 0, 4]
    first = store_maps("a", maps, [50 + row for row in range(10)])
    second = store_maps("b", maps[order], [50 + row for row in order])
    found = compare_generations(first, second)
    assert (found.num_common, found.num_first_only, found.num_second_only) == (5, 5, 0)
    assert found.num_equal == 5
    assert found.tv_distance == 0
    assert found.peaks_moved == 0
    assert found.rank_correlation == pytest.approx(1.0)
    assert {(one.first_row, one.second_row) for one in found.worst} == {
        (row, place) for place, row in enumerate(order)
    }


def test_second_of_another_input_size_is_normalised_for_the_firsts(store_maps: Store) -> None:
    maps, ids = _random_maps(6, 5), list(range(6))
    first = store_maps("a", maps, ids, size=32)
    second = store_maps("b", maps, ids, size=8)
    assert compare_generations(first, second).tv_distance == pytest.approx(0, abs=1e-6)


def test_flat_maps_are_counted_and_left_out_of_the_mean(store_maps: Store) -> None:
    first, second = _random_maps(4, 1), _random_maps(4, 2)
    first[0], second[0], second[1] = 0, 9, 9
    sides = [store_maps(name, one, [1, 2, 3, 4]) for name, one in (("a", first), ("b", second))]
    found = compare_generations(sides[0], sides[1])
    assert found.num_flat == (1, 2)
    expected = [
        stats.spearmanr(first[row].reshape(-1), second[row].reshape(-1)).statistic for row in (2, 3)
    ]
    assert found.rank_correlation == pytest.approx(np.mean(expected))


def test_histograms_count_every_sample_and_reach_their_ends(store_maps: Store) -> None:
    first, second = _random_maps(60, 1), _random_maps(60, 2)
    second[0], second[1] = first[0], 255 - first[1]  # correlations of 1 and -1
    first[2] = 0  # none
    sides = [
        store_maps(name, one, list(range(60)))
        for name, one in zip("ab", (first, second), strict=True)
    ]
    found = compare_generations(sides[0], sides[1], lam=3.0)
    ranks = [
        stats.spearmanr(one.reshape(-1), two.reshape(-1)).statistic
        for row, (one, two) in enumerate(zip(first, second, strict=True))
        if row != 2
    ]
    apart = [
        np.abs(_density(one, 32, 3.0) - _density(two, 32, 3.0)).sum() / 2
        for one, two in zip(first, second, strict=True)
    ]
    assert found.rank_counts == _histogram(ranks, -1)
    assert found.tv_counts == _histogram(apart, 0)
    assert found.rank_counts[0] == found.rank_counts[-1] == 1


def _histogram(values: list[float], low: int) -> tuple[int, ...]:
    """Count values in 40 equal bins over [low, 1], one by one; the last digit does not matter."""
    counts = [0] * 40
    for value in values:
        counts[min(39, max(0, int((value + 1e-12 - low) / (1 - low) * 40)))] += 1
    return tuple(counts)


def test_comparing_in_chunks_gives_the_same(
    store_maps: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store_maps("a", _random_maps(20, 1, levels=3), list(range(20)))
    second = store_maps("b", _random_maps(20, 2, levels=3)[::-1].copy(), list(range(20))[::-1])
    whole = compare_generations(first, second, num_worst=6)
    monkeypatch.setattr(compare, "CHUNK_MAPS", 3)
    seen: list[tuple[int, int]] = []
    parts = compare_generations(
        first, second, num_worst=6, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(done, 20) for done in (*range(3, 20, 3), 20)]
    for name, value in whole.as_dict().items():
        assert parts.as_dict()[name] == (pytest.approx(value) if name != "worst" else value)


def test_what_can_not_be_compared_is_refused(store_maps: Store) -> None:
    first = store_maps("a", _random_maps(3, 1), [1, 2, 3])
    second = store_maps("b", _random_maps(3, 1), [4, 5, 6])
    with pytest.raises(RefreshError, match="have no sample in common"):
        compare_generations(first, second)
    with pytest.raises(RefreshError, match="lambda must be finite, got nan"):
        compare_generations(first, first, lam=float("nan"))
