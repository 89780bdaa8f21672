import re

import numpy as np
import pytest

from loaders.errors import OptionError
from loaders.long_tail import long_tail_counts, long_tail_rows


@pytest.mark.parametrize(
    ("num_classes", "n_max", "imbalance", "total"),
    [
        pytest.param(100, 500, 100, 10847, id="cifar100-rho100"),
        pytest.param(100, 500, 50, 12608, id="cifar100-rho50"),
        pytest.param(100, 500, 10, 19573, id="cifar100-rho10"),
        pytest.param(10, 5000, 100, 12406, id="cifar10-rho100"),
        pytest.param(100, 500, 1, 50000, id="balanced"),
    ],
)
def test_counts_add_up_to_the_published_sizes(
    num_classes: int, n_max: int, imbalance: float, total: int
) -> None:
    counts = long_tail_counts(num_classes, n_max, imbalance)
    assert counts.shape == (num_classes,)
    assert counts.dtype == np.int64
    assert counts.sum() == total


@pytest.mark.parametrize(
    ("imbalance", "first", "last", "num_tail"),
    [
        pytest.param(100, [500, 477, 455, 434, 415], [6, 5, 5, 5, 5], 50, id="rho100"),
        pytest.param(50, [500, 480, 462, 444, 426], [11, 11, 10, 10, 10], 41, id="rho50"),
    ],
)
def test_counts_match_the_published_profile(
    imbalance: float, first: list[int], last: list[int], num_tail: int
) -> None:
    counts = long_tail_counts(100, 500, imbalance)
    assert counts[:5].tolist() == first
    assert counts[-5:].tolist() == last
    assert np.count_nonzero(counts / counts.max() < 0.1) == num_tail


def test_one_class_keeps_all_its_images() -> None:
    assert long_tail_counts(1, 7, 100).tolist() == [7]


@pytest.mark.parametrize("imbalance", [0.5, 0.0, -1.0, float("nan"), float("inf")])
def test_counts_reject_an_imbalance_below_one(imbalance: float) -> None:
    with pytest.raises(OptionError, match=re.escape(f">= 1 (1 = balanced), got {imbalance}")):
        long_tail_counts(10, 100, imbalance)


def test_counts_reject_no_classes() -> None:
    with pytest.raises(OptionError, match="got num_classes=0 n_max=5"):
        long_tail_counts(0, 5, 10)


def _restated(labels: list[int], counts: list[int], seed: int) -> list[int]:
    """The selection as the LDAM-DRW code does it: global seed, list of indices, class by class."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(seed)  # noqa: NPY002
        rows: list[int] = []
        for k, count in enumerate(counts):
            indices = np.array([i for i, label in enumerate(labels) if label == k])
            np.random.shuffle(indices)  # noqa: NPY002
            rows.extend(indices[:count].tolist())
        return rows
    finally:
        np.random.set_state(state)  # noqa: NPY002


@pytest.mark.parametrize(
    ("num_classes", "n_max", "seed"),
    [
        pytest.param(10, 200, 0, id="seed-0"),
        pytest.param(10, 200, 7, id="seed-7"),
        pytest.param(100, 500, 0, id="the-size-of-cifar100"),
    ],
)
def test_rows_are_those_of_the_published_subset(num_classes: int, n_max: int, seed: int) -> None:
    every = np.repeat(np.arange(num_classes), n_max)
    labels = np.random.default_rng(5).permutation(every).tolist()
    counts = [int(n_max * 0.02 ** (k / (num_classes - 1))) for k in range(num_classes)]
    assert long_tail_rows(labels, 50, seed).tolist() == _restated(labels, counts, seed)


def test_rows_leave_the_global_generator_alone() -> None:
    before = np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    long_tail_rows([0, 1, 0, 1], 2)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]  # noqa: NPY002


def test_a_class_smaller_than_its_share_keeps_all() -> None:
    labels = [0] * 100 + [1] * 3 + [2] * 50
    rows = long_tail_rows(labels, 4)
    assert np.bincount(np.array(labels)[rows]).tolist() == [100, 3, 25]


def test_a_class_without_images_still_counts_as_a_class() -> None:
    labels = [0] * 100 + [2] * 100
    rows = long_tail_rows(labels, 8, num_classes=4)
    assert np.bincount(np.array(labels)[rows]).tolist() == [100, 0, 25]
