"""Metrics against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.training.metrics import score


def _calibration_error(logits: torch.Tensor, labels: np.ndarray) -> float:
    """ECE as Guo et al. (2017) write it: 15 bins of equal width, the last one closed."""
    shares = logits.softmax(1).numpy()
    confidence, right = shares.max(1), shares.argmax(1) == labels
    total = 0.0
    for number in range(15):
        low, high = number / 15, (number + 1) / 15
        inside = (confidence >= low) & ((confidence < high) | (number == 14))
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([0.1, 3.0, 1000.0]))
def test_scores_match_brute_force(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(scale * rng.standard_normal((40, 7))).float()
    labels = rng.integers(0, 7, 40)
    result = score(logits, labels)
    order = (-logits).argsort(1).numpy()
    assert result.top1 == pytest.approx((order[:, 0] == labels).mean())
    assert result.top5 == pytest.approx((order[:, :5] == labels[:, None]).any(1).mean())
    own = [(order[labels == k, 0] == k).mean() for k in range(7) if (labels == k).any()]
    assert result.balanced == pytest.approx(np.mean(own))
    assert result.ece == pytest.approx(_calibration_error(logits, labels), abs=1e-6)


def test_confidences_of_exactly_one_belong_to_the_last_bin() -> None:
    # One bin of accuracy 1/2 and confidence ~ 0.99; in bins of their own they would sum to 0.5.
    logits = torch.tensor([[4.0, 0.0], [100.0, 0.0]])
    labels = np.array([0, 1])
    confidence = (float(logits[0].double().softmax(0)[0]) + 1) / 2
    assert score(logits, labels).ece == pytest.approx(confidence - 0.5)


def test_each_class_is_confused_with_the_one_that_most_of_its_images_are_taken_for() -> None:
    rng = np.random.default_rng(5)
    labels, predicted = rng.integers(0, 6, 200), rng.integers(0, 8, 200)
    predicted[labels == 5] = 5
    result = score(torch.nn.functional.one_hot(torch.from_numpy(predicted), 8).float(), labels)
    for label, confused in enumerate(result.confused):
        taken_for = np.bincount(predicted[labels == label], minlength=8)
        taken_for[label] = 0
        if label >= 5:  # always right, or without images
            assert confused is None
        else:
            expected = (int(taken_for.argmax()), taken_for.max() / (labels == label).sum())
            assert confused == pytest.approx(expected)


def test_a_class_without_test_images_is_left_out_of_the_balanced_accuracy() -> None:
    logits = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    result = score(logits, np.array([0, 0, 0]))
    assert result.per_class[0] == pytest.approx(2 / 3)
    assert np.isnan(result.per_class[1:]).all()
    assert result.balanced == pytest.approx(2 / 3)
    assert result.top5 is None
