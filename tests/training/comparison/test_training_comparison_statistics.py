from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.training.comparison.statistics import paired_difference, spread, t_quantile

SHARES = st.floats(0, 100, allow_subnormal=False)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 10, 29, 100, 999])
@pytest.mark.parametrize("probability", [0.5, 0.6, 0.9, 0.975, 0.999])
def test_quantiles_are_scipys(freedom: int, probability: float) -> None:
    expected = stats.t.ppf(probability, freedom)
    assert t_quantile(probability, freedom) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(st.lists(st.tuples(SHARES, SHARES), min_size=2, max_size=12))
def test_paired_differences_have_scipys_intervals(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = ({seed: pair[i] for seed, pair in enumerate(pairs)} for i in (0, 1))
    found = paired_difference(ours, theirs)
    assert found is not None
    differences = np.array([first - second for first, second in pairs])
    assert found.count == len(pairs)
    assert found.mean == pytest.approx(differences.mean(), abs=1e-9)
    half = stats.sem(differences) * stats.t.ppf(0.975, len(pairs) - 1)
    assert found.low == pytest.approx(differences.mean() - half, abs=1e-6)
    assert found.high == pytest.approx(differences.mean() + half, abs=1e-6)


def test_intervals_are_those_of_scipys_paired_test() -> None:
    ours, theirs = {0: 41.2, 1: 42.0, 2: 41.1, 3: 41.9}, {0: 40.1, 1: 41.3, 2: 40.9, 3: 40.2}
    found = paired_difference(ours, theirs)
    expected = stats.ttest_rel(list(ours.values()), list(theirs.values())).confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_only_common_seeds_are_paired() -> None:
    found = paired_difference({0: 5.0, 1: 7.0, 9: 100.0}, {1: 4.0, 0: 3.0, 8: 0.0})
    assert found is not None
    assert (found.count, found.mean) == (2, 2.5)
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_one_seed_has_neither_spread_nor_interval() -> None:
    one = spread([3.0])
    assert one is not None
    assert (one.mean, one.std) == (3.0, None)
    found = paired_difference({4: 3.0}, {4: 1.0})
    assert found is not None
    assert (found.count, found.mean, found.low, found.high) == (1, 2.0, None, None)
    assert spread([]) is None


def test_spread_divides_by_one_less_than_the_count() -> None:
    found = spread([1.0, 2.0, 6.0])
    assert found is not None
    assert (found.mean, found.std) == pytest.approx((3.0, np.std([1.0, 2.0, 6.0], ddof=1)))
