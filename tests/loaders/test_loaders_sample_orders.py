"""Orders of an epoch: which samples come how often, and how they are cut into batches and ranks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.errors import OptionError, StateError
from loaders.sample_orders import ByClass, Repeated, Sequential, Shuffle, occurrences, sample_order
from loaders.samplers import EpochBatches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loaders.sample_orders import SampleOrder, SamplerName

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [700, 250, 49, 1]))
NAMES: tuple[SamplerName, ...] = (
    "shuffle", "sequential", "class_balanced", "square_root", "repeated",
)  # fmt: skip


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("order", [Shuffle(50), Sequential(50)], ids=lambda order: order.name)
def test_plain_orders_deliver_each_sample_once(order: SampleOrder) -> None:
    assert sorted(order.draw(_rng()).tolist()) == list(range(50))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_classes_get_their_share_to_within_one_sample(power: float) -> None:
    counts = np.array([700, 250, 49, 1])
    expected = 1000 * counts**power / (counts**power).sum()
    for seed in range(20):
        rows = ByClass(LABELS, power).draw(_rng(seed))
        assert len(rows) == 1000
        shares = np.bincount(LABELS[rows], minlength=4)
        assert np.abs(shares - expected).max() < 1


def test_class_shares_are_exact_on_average() -> None:
    """An odd share (sqrt(250) of 1000, ...) must not always be rounded the same way."""
    counts = np.array([700, 250, 49, 1])
    expected = 1000 * counts**0.5 / (counts**0.5).sum()
    order = ByClass(LABELS, 0.5)
    shares = [np.bincount(LABELS[order.draw(_rng(seed))], minlength=4) for seed in range(2000)]
    np.testing.assert_allclose(np.mean(shares, axis=0), expected, atol=5 * 0.5 / 2000**0.5)


def test_samples_of_a_class_come_equally_often() -> None:
    rows = ByClass(LABELS, 0.0).draw(_rng())
    times = np.bincount(rows, minlength=1000)
    for label in range(4):
        own = times[label == LABELS]
        assert own.max() - own.min() <= 1
    assert times[LABELS == 3][0] == 250


def test_class_sampling_leaves_no_trace_of_the_class_in_the_order() -> None:
    labels = LABELS[ByClass(LABELS, 0.0).draw(_rng(4))]
    first, second = np.bincount(labels[:500], minlength=4), np.bincount(labels[500:], minlength=4)
    assert np.abs(first - second).max() < 6 * (1000 * 0.25 * 0.75) ** 0.5


def test_empty_classes_get_no_sample() -> None:
    labels = np.array([0, 0, 3, 3, 3])
    assert set(labels[ByClass(labels, 0.0).draw(_rng())].tolist()) == {0, 3}


def test_repeated_samples_follow_one_another_and_fill_an_epoch() -> None:
    rows = Repeated(100, 3).draw(_rng())
    assert len(rows) == 100
    assert (rows.reshape(-1)[:99].reshape(33, 3) == rows[:99:3, None]).all()
    assert len(np.unique(rows)) == 34


@given(st.lists(st.integers(0, 6), max_size=40))
@settings(deadline=None)
def test_draws_count_how_often_a_row_came_before(rows: list[int]) -> None:
    expected = [rows[:place].count(row) for place, row in enumerate(rows)]
    assert occurrences(np.array(rows, np.int64)).tolist() == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_ranks_together_deliver_the_order_each_entry_once(name: SamplerName, world: int) -> None:
    """Also where the last global batch is not full, and where it is smaller than the ranks."""
    for num in (24, 25, 31, 47):
        order = sample_order(name, LABELS[:num])
        ranks = [
            EpochBatches(order, 12 // world, seed=2, rank=rank, world_size=world)
            for rank in range(world)
        ]
        keys = [list(rank) for rank in ranks]
        pairs = [
            (int(index), int(draw))
            for rank in keys
            for key in rank
            for index, draw in zip(key.indices, key.draws, strict=True)
        ]
        rows = ranks[0].rows(0)
        expected = zip(rows.tolist(), occurrences(rows).tolist(), strict=True)
        assert sorted(pairs) == sorted(expected)
        assert len({len(rank) for rank in keys}) == 1
        assert min(len(key.indices) for rank in keys for key in rank) >= 1
        assert [len(rank) for rank in ranks] == [len(rank) for rank in keys]


@pytest.mark.parametrize("name", NAMES)
def test_steps_hold_the_same_samples_for_any_number_of_ranks(name: SamplerName) -> None:
    def steps(world: int) -> list[list[int]]:
        parts = [
            EpochBatches(sample_order(name, LABELS[:55]), 12 // world, rank=rank, world_size=world)
            for rank in range(world)
        ]
        return [
            sorted(index for key in keys for index in key.indices.tolist())
            for keys in zip(*parts, strict=True)
        ]

    assert steps(1) == steps(2) == steps(4)


def test_copies_of_a_repeated_sample_go_to_different_ranks() -> None:
    ranks = [list(EpochBatches(Repeated(96, 3), 8, rank=rank, world_size=3)) for rank in range(3)]
    for first, second, third in zip(*ranks, strict=True):
        assert first.indices.tolist() == second.indices.tolist() == third.indices.tolist()
        assert (first.draws.tolist(), third.draws.tolist()) == ([0] * 8, [2] * 8)


def test_orders_are_a_function_of_seed_and_epoch() -> None:
    def rows(seed: int, epoch: int) -> NDArray[np.int64]:
        return EpochBatches(Shuffle(100), 10, seed=seed).rows(epoch)

    np.testing.assert_array_equal(rows(1, 2), rows(1, 2))
    assert not np.array_equal(rows(1, 2), rows(1, 3))
    assert not np.array_equal(rows(1, 2), rows(2, 2))


def test_an_iteration_keeps_the_epoch_it_began_with() -> None:
    batches = EpochBatches(Shuffle(20), 10)
    running = iter(batches)
    batches.set_epoch(1, 5)
    assert {(key.epoch, key.generation) for key in running} == {(0, 0)}
    assert {(key.epoch, key.generation) for key in batches} == {(1, 5)}


def test_dropping_the_last_batch_drops_only_an_unfilled_one() -> None:
    sizes = [
        [len(key.indices) for key in EpochBatches(Shuffle(num), 8, drop_last=True)]
        for num in (16, 17, 23)
    ]
    assert sizes == [[8, 8]] * 3


@pytest.mark.parametrize(
    ("num", "options", "message"),
    [
        pytest.param(3, {"world_size": 4}, "samples for 4 ranks, got 3", id="fewer-than-ranks"),
        pytest.param(5, {"drop_last": True}, "for a global batch of 8, got 5", id="all-dropped"),
        pytest.param(5, {"rank": 2, "world_size": 2}, "rank must be in [0, world_size 2)", id="r"),
        pytest.param(5, {"seed": -1}, "seed at least 0, got 8 and -1", id="seed"),
    ],
)
def test_cuts_that_cannot_be_made_are_refused(
    num: int, options: dict[str, int], message: str
) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        EpochBatches(Shuffle(num), 8, **options)  # type: ignore[arg-type]


def test_a_position_between_two_steps_is_refused() -> None:
    batches = EpochBatches(Shuffle(41), 2, world_size=4)
    batches.set_epoch(0, 0, 32)  # the 33rd to 41st sample make the last step
    with pytest.raises(StateError, match=r"multiple of 8, or the end 41\), got 40"):
        batches.set_epoch(0, 0, 40)


@pytest.mark.parametrize("sampler", ["random", ""])
def test_unknown_orders_are_refused_by_name(sampler: SamplerName) -> None:
    with pytest.raises(OptionError, match=r"sampler must be one of shuffle, .*, repeated, got"):
        sample_order(sampler, LABELS)


def test_orders_refuse_settings_without_meaning() -> None:
    with pytest.raises(OptionError, match="repeats must be at least 1, got 0"):
        Repeated(5, 0)
    with pytest.raises(OptionError, match="power of class sampling must be finite, got inf"):
        ByClass(LABELS, float("inf"))
