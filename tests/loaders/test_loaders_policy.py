"""The SCAE policy against the paper's equations and the tables computed from them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from loaders.errors import DataError, OptionError
from loaders.policy import Event, ScaePolicy
from loaders.randomness import KeyedStream


def counts_of(rho: int) -> list[int]:
    """Return the class counts of CIFAR-100-LT: truncated, in label order."""
    return [int(500 * (1 / rho) ** (k / 99)) for k in range(100)]


def policy_for(rho: int, **options: Any) -> ScaePolicy:  # noqa: ANN401
    return ScaePolicy(num_epochs=200, class_counts=counts_of(rho), **options)


@pytest.mark.parametrize(
    ("rho", "images", "num_tail", "tail_images", "p_low", "class_mean", "sample_mean"),
    [
        pytest.param(100, 10847, 50, 946, 0.140, 0.256, 0.372, id="rho-100"),
        pytest.param(50, 12608, 41, 985, 0.157, 0.275, 0.374, id="rho-50"),
        pytest.param(10, 19573, 0, 0, 0.226, 0.337, 0.388, id="rho-10"),
    ],
)
def test_long_tailed_tables_are_reproduced(
    rho: int,
    images: int,
    num_tail: int,
    tail_images: int,
    p_low: float,
    class_mean: float,
    sample_mean: float,
) -> None:
    policy = policy_for(rho)
    counts = np.array(counts_of(rho))
    chance = policy.erase_probability
    assert counts.sum() == images
    assert policy.is_tail.sum() == num_tail
    assert counts[policy.is_tail].sum() == tail_images
    assert chance.min() == pytest.approx(p_low, abs=5e-4)
    assert chance.max() == 0.5
    assert chance.mean() == pytest.approx(class_mean, abs=5e-4)
    assert np.average(chance, weights=counts) == pytest.approx(sample_mean, abs=5e-4)


def test_equations_6_and_7_by_hand() -> None:
    policy = ScaePolicy(num_epochs=1, class_counts=[100, 25, 4, 0])
    np.testing.assert_allclose(policy.relative_frequency, [1, 0.25, 0.04, 0])
    np.testing.assert_allclose(policy.erase_probability, [0.5, 0.3, 0.18, 0.1])
    np.testing.assert_array_equal(policy.is_tail, [False, False, True, True])


def test_class_at_the_threshold_is_not_tail() -> None:
    policy = ScaePolicy(num_epochs=1, class_counts=[100, 10, 9])
    np.testing.assert_array_equal(policy.is_tail, [False, False, True])


def test_balanced_classes_make_class_awareness_the_identity() -> None:
    balanced = ScaePolicy(num_epochs=200, class_counts=[500] * 100)
    np.testing.assert_array_equal(balanced.erase_probability, np.full(100, 0.5))
    assert not balanced.is_tail.any()
    unaware = dataclasses.replace(balanced, class_aware=False)
    labels = np.random.default_rng(0).integers(0, 100, 5000)
    np.testing.assert_array_equal(
        balanced.decide(labels, np.random.default_rng(1)),
        unaware.decide(labels, np.random.default_rng(1)),
    )


def test_equation_5_counts_epochs_from_zero() -> None:
    policy = policy_for(100)
    assert [policy.lam(epoch) for epoch in (0, 100, 199)] == pytest.approx([0, 1.0, 1.99])
    constant = policy_for(100, curriculum=False, lambda_max=-1.5)
    assert [constant.lam(epoch) for epoch in (0, 199)] == [-1.5, -1.5]
    assert policy_for(100, semantic=False).lam(150) == 0.0


@pytest.mark.parametrize("epoch", [-1, 200])
def test_epoch_outside_the_run_is_refused(epoch: int) -> None:
    with pytest.raises(OptionError, match=rf"epoch must be in \[0, 200\), got {epoch}"):
        policy_for(100).lam(epoch)


def shares(policy: ScaePolicy, label: int, num: int = 60_000) -> NDArray[np.int64]:
    stream = KeyedStream(3, 1, np.arange(num), np.zeros(num, np.int64), "event")
    events = policy.decide(np.full(num, label), stream)
    assert events.dtype == np.uint8
    return np.bincount(events, minlength=3)


@pytest.mark.parametrize(
    ("options", "mix", "erase"),
    [
        # Class 1 has f = 0.04, so p_k = 0.18; erasing happens to what is left of 1 - beta.
        pytest.param({}, 0.5, 0.5 * 0.18, id="default"),
        pytest.param({"tail_erase": "literal"}, 0.5, 0.5, id="literal"),
        pytest.param({"beta": 0.2}, 0.2, 0.8 * 0.18, id="less-mixing"),
        pytest.param({"beta": 1.0}, 1.0, 0.0, id="always-mixed"),
        pytest.param({"tau": 0.0}, 0.0, 0.18, id="no-tail"),
        pytest.param({"class_aware": False}, 0.0, 0.5, id="unaware"),
        pytest.param({"class_aware": False, "tail_erase": "literal"}, 0.0, 0.5, id="unaware-too"),
    ],
)
def test_tail_samples_follow_equation_8(options: dict[str, Any], mix: float, erase: float) -> None:
    policy = ScaePolicy(num_epochs=1, class_counts=[100, 4], **options)
    observed = shares(policy, label=1)
    expected = np.array([1 - mix - erase, erase, mix]) * observed.sum()
    possible = expected > 0.5
    assert (observed[~possible] == 0).all()
    if possible.sum() > 1:
        assert stats.chisquare(observed[possible], expected[possible]).pvalue > 1e-4


def test_head_samples_are_never_mixed() -> None:
    observed = shares(ScaePolicy(num_epochs=1, class_counts=[100, 4]), label=0)
    assert observed[Event.MIXUP] == 0
    assert stats.binomtest(int(observed[Event.ERASE]), int(observed.sum()), 0.5).pvalue > 1e-4


def test_class_with_one_sample_takes_the_erasing_branch() -> None:
    policy = ScaePolicy(num_epochs=1, class_counts=[100, 1])
    observed = shares(policy, label=1)
    assert policy.is_tail[1]
    assert observed[Event.MIXUP] == 0
    share = 0.1 + 0.4 * 0.1
    assert stats.binomtest(int(observed[Event.ERASE]), int(observed.sum()), share).pvalue > 1e-4


def test_events_follow_fixed_uniforms_exactly() -> None:
    class Fixed:
        def random(self, shape: tuple[int, int], /) -> NDArray[np.float64]:
            assert shape == (4, 2)
            return np.array([[0.49, 0.9], [0.5, 0.17], [0.5, 0.181], [0.1, 0.49]])

    policy = ScaePolicy(num_epochs=1, class_counts=[100, 4])
    events = policy.decide(np.array([1, 1, 1, 0]), Fixed())
    assert events.tolist() == [Event.MIXUP, Event.ERASE, Event.NONE, Event.ERASE]


def test_no_labels_give_no_events() -> None:
    labels = np.zeros(0, dtype=np.int64)
    assert policy_for(100).decide(labels, np.random.default_rng(0)).shape == (0,)


@pytest.mark.parametrize("labels", [[-1, 0], [0, 100]])
def test_labels_outside_the_classes_are_refused(labels: list[int]) -> None:
    message = rf"labels must be in \[0, 100\), got {labels[0]} to {labels[1]}"
    with pytest.raises(DataError, match=message):
        policy_for(100).decide(np.array(labels), np.random.default_rng(0))


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.4, 0.5, 1.0, 2.5, 30.0])
def test_mixing_ratio_is_beta_distributed(alpha: float) -> None:
    policy = policy_for(100, alpha=alpha)
    stream = KeyedStream(1, 0, np.arange(200_000), np.zeros(200_000, np.int64), "ratio")
    ratio = policy.mixing_ratio(200_000, stream)
    assert ratio.min() >= 0
    assert ratio.max() <= 1
    inner = ratio[(ratio > 1e-12) & (ratio < 1 - 1e-12)]  # beyond, doubles near 1 are too coarse
    law = stats.beta(alpha, alpha)
    low, high = law.cdf(1e-12), law.cdf(1 - 1e-12)
    result = stats.kstest((law.cdf(inner) - low) / (high - low), "uniform")
    assert result.pvalue > 1e-4
    assert len(inner) / len(ratio) == pytest.approx(high - low, abs=0.005)


def test_mixing_ratio_stays_finite_for_extreme_uniforms() -> None:
    class Extreme:
        def random(self, shape: tuple[int, int], /) -> NDArray[np.float64]:
            edge = np.array([0.0, 0.25, 0.5, 0.75, 1 - 2.0**-53])
            return np.stack(np.meshgrid(edge, edge), axis=-1).reshape(shape)

    for alpha in (0.001, 0.4, 1000.0):
        ratio = policy_for(100, alpha=alpha).mixing_ratio(25, Extreme())
        assert np.isfinite(ratio).all()
        assert ((ratio >= 0) & (ratio <= 1)).all()


def test_defaults_are_those_of_the_paper() -> None:
    policy = policy_for(100)
    paper = (policy.p_min, policy.p_max, policy.gamma, policy.tau, policy.alpha, policy.beta)
    assert paper == (0.1, 0.5, 0.5, 0.1, 0.4, 0.5)
    assert policy.lambda_max == 2.0
    assert (policy.area, policy.aspect) == ((0.02, 0.4), (0.3, 1 / 0.3))


def test_policy_takes_what_recipes_and_data_sets_hold() -> None:
    ours = ScaePolicy(
        num_epochs=5,
        class_counts=np.array([5, 3]),  # type: ignore[arg-type]
        area=[0.1, 0.2],  # type: ignore[arg-type]
        fill=[0.1, 0.2, 0.3],  # type: ignore[arg-type]
    )
    same = ScaePolicy(num_epochs=5, class_counts=(5, 3), area=(0.1, 0.2), fill=(0.1, 0.2, 0.3))
    assert ours == same
    assert hash(ours) == hash(same)
    assert "_mixable" not in repr(ours)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_epochs": 0}, "num_epochs must be a whole number of at least 1, got 0"),
        ({"num_epochs": 2.5}, "num_epochs must be .* got 2.5"),
        ({"lambda_max": float("nan")}, "lambda_max must be finite, got nan"),
        ({"lambda_max": "2"}, "lambda_max must be finite, got '2'"),
        ({"p_min": 0.6}, r"p_min must be in \[0, p_max = 0.5\], got 0.6"),
        ({"p_max": 1.1}, r"p_max must be in \[0, 1\], got 1.1"),
        ({"gamma": 0.0}, "gamma must be above 0 and finite, got 0.0"),
        ({"tau": -0.1}, r"tau must be in \[0, 1\], got -0.1"),
        ({"alpha": 0.0}, "alpha must be above 0 and finite, got 0.0"),
        ({"beta": 2.0}, r"beta must be in \[0, 1\], got 2.0"),
        ({"area": (0.4, 0.02)}, r"area must be .* 0 < low <= high <= 1, got \(0.4, 0.02\)"),
        ({"area": (0.1, 1.2)}, "area must be"),
        ({"aspect": (0.0, 1.0)}, r"aspect must be .* 0 < low <= high, got \(0.0, 1.0\)"),
        ({"aspect": (1.0, float("inf"))}, "aspect must be"),
        ({"aspect_law": "linear"}, "aspect_law must be one of uniform, log, got 'linear'"),
        ({"border": "wrap"}, "border must be one of clip, shift, got 'wrap'"),
        ({"partner": "any"}, "partner must be one of same, neighbor, got 'any'"),
        ({"tail_erase": "never"}, "tail_erase must be one of p_k, literal, got 'never'"),
        ({"fill": float("nan")}, "fill must be finite"),
        ({"fill": "mean"}, "fill must be finite"),
        ({"class_counts": []}, r"class_counts must hold .* got \[\]"),
        ({"class_counts": [0, 0]}, r"class_counts must hold .* got \[0, 0\]"),
        ({"class_counts": [5, -1]}, r"class_counts must hold .* got \[5, -1\]"),
    ],
)
def test_options_outside_their_range_are_named(options: dict[str, Any], message: str) -> None:
    complete: dict[str, Any] = {"num_epochs": 10, "class_counts": [5, 3], **options}
    with pytest.raises(OptionError, match=message):
        ScaePolicy(**complete)


@pytest.mark.parametrize(
    "read", [lambda p: p.erase_probability, lambda p: p.is_tail], ids=["p_k", "tail"]
)
def test_tables_cannot_be_changed_from_outside(
    read: Callable[[ScaePolicy], NDArray[Any]],
) -> None:
    policy = policy_for(100)
    before = read(policy).copy()
    read(policy)[:] = 1
    np.testing.assert_array_equal(read(policy), before)
