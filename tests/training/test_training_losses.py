"""Losses against hand-computed values, their papers' formulas and other libraries."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from loaders.long_tail import long_tail_counts
from pipeline.training.losses.class_weights import class_balanced_weights
from pipeline.training.losses.cross_entropy import CrossEntropy
from pipeline.training.losses.focal import Focal
from pipeline.training.losses.label_aware import LabelAwareSmoothing, smoothing_by_class
from pipeline.training.losses.ldam import Ldam
from pipeline.training.losses.logit_adjustment import LogitAdjustment
from pipeline.training.losses.objective import Objective, build_objective
from pipeline.training.losses.options import LossName, LossRecipe

CIFAR100_LT = long_tail_counts(100, 500, 100)
COUNTS = np.array([50, 10, 2])


def _batch(seed: int = 0, num: int = 6, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(num, classes, generator=generator)
    return logits, torch.arange(num) % classes


def test_weights_of_cifar100_lt_are_the_published_ratio_and_add_up_to_the_classes() -> None:
    weights = class_balanced_weights(CIFAR100_LT, 0.9999)
    assert weights.sum() == pytest.approx(100)
    assert weights[-1] / weights[0] == pytest.approx(97.6, abs=0.05)
    by_hand = (1 - 0.9999**500) / (1 - 0.9999**5)
    assert weights[-1] / weights[0] == pytest.approx(by_hand)


def test_weights_run_from_equal_to_inverse_frequency() -> None:
    assert class_balanced_weights(COUNTS, 0.0).tolist() == [1, 1, 1]
    inverse = class_balanced_weights(COUNTS, 1 - 1e-9) * COUNTS
    np.testing.assert_allclose(inverse, inverse[0], rtol=1e-5)


def test_a_class_without_images_has_no_weight_and_spoils_none() -> None:
    with_hole = class_balanced_weights(np.array([50, 0, 10, 2]), 0.9)
    assert with_hole[1] == 0
    np.testing.assert_allclose(with_hole[[0, 2, 3]], class_balanced_weights(COUNTS, 0.9))


def test_smoothed_cross_entropy_spreads_over_all_classes() -> None:
    logits, labels = _batch()
    target = 0.9 * functional.one_hot(labels, 3) + 0.1 / 3
    by_hand = -(target * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(CrossEntropy(0.1)(logits, labels), by_hand)
    torch.testing.assert_close(
        CrossEntropy(0.1)(logits, functional.one_hot(labels, 3).float()), by_hand
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_loss_is_torchvisions_summed_over_classes(gamma: float) -> None:
    logits, labels = _batch()
    right = functional.one_hot(labels, 3).float()
    expected = sigmoid_focal_loss(logits, right, alpha=-1, gamma=gamma).sum(1)
    torch.testing.assert_close(Focal(gamma)(logits, labels), expected)


def test_focal_loss_has_a_gradient_where_sigmoids_saturate() -> None:
    logits = torch.tensor([[60.0, -60.0], [-60.0, 60.0]], requires_grad=True)
    Focal(0.5)(logits, torch.tensor([0, 0])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    # The wrong answers still pull with their whole weight.
    torch.testing.assert_close(logits.grad[1], torch.tensor([-1.0, 1.0]))


def test_ldam_takes_the_margin_off_the_labels_cosine() -> None:
    loss = Ldam(np.array([16, 1, 81]), 0.5, 30.0)
    torch.testing.assert_close(loss.margins, torch.tensor([0.25, 0.5, 0.5 / 3]))
    cosines, label = torch.tensor([[0.3, 0.1, -0.2]]), torch.tensor([1])
    scaled = [30 * 0.3, 30 * (0.1 - 0.5), 30 * -0.2]
    by_hand = math.log(sum(math.exp(value) for value in scaled)) - scaled[1]
    assert float(loss(cosines, label)) == pytest.approx(by_hand, rel=1e-6)


def test_ldam_gives_no_margin_to_a_class_without_images() -> None:
    assert Ldam(np.array([16, 0, 1]), 0.5, 30.0).margins.tolist() == [0.25, 0.0, 0.5]


def test_balanced_softmax_is_cross_entropy_with_log_counts() -> None:
    logits, labels = _batch()
    objective = build_objective(LossRecipe(name="balanced-softmax"), COUNTS, 10)
    shares = torch.from_numpy(COUNTS) * logits.exp()
    by_hand = -(shares / shares.sum(1, keepdim=True))[range(6), labels].log()
    torch.testing.assert_close(objective(logits, labels, 0).double(), by_hand.double().mean())
    shifted = functional.cross_entropy(logits + torch.from_numpy(COUNTS).log(), labels)
    torch.testing.assert_close(objective(logits, labels, 0), shifted)


def test_logit_adjustment_is_blind_to_counts_or_frequencies_and_scales_by_tau() -> None:
    logits, labels = _batch()
    priors = torch.from_numpy(COUNTS / COUNTS.sum()).float()
    expected = functional.cross_entropy(logits + 1.5 * priors.log(), labels, reduction="none")
    torch.testing.assert_close(LogitAdjustment(COUNTS, 1.5)(logits, labels), expected)
    assert LogitAdjustment(np.array([5, 0]))(torch.zeros(1, 2), torch.tensor([0])).isfinite()


def test_label_aware_smoothing_of_cifar100_lt_is_as_published() -> None:
    smoothing = smoothing_by_class(CIFAR100_LT, 0.4, 0.1)
    assert smoothing[[0, 50, 99]] == pytest.approx([0.4, 0.141, 0.1], abs=5e-4)
    by_hand = 0.1 + 0.3 * math.sin(math.pi * (CIFAR100_LT[50] - 5) / (2 * 495))
    assert smoothing[50] == pytest.approx(by_hand)


def test_label_aware_loss_is_cross_entropy_with_each_labels_own_smoothing() -> None:
    logits, labels = _batch()
    smoothing = np.array([0.4, 0.2, 0.0])
    expected = torch.stack(
        [
            functional.cross_entropy(row, label, label_smoothing=smoothing[int(label)])
            for row, label in zip(logits, labels, strict=True)
        ]
    )
    torch.testing.assert_close(LabelAwareSmoothing(smoothing)(logits, labels), expected)


def test_weighted_mean_divides_by_samples_or_as_pytorch_by_weights() -> None:
    logits, labels = _batch()
    weights = np.array([0.2, 0.8, 2.0])
    tensor = torch.from_numpy(weights).float()
    losses = functional.cross_entropy(logits, labels, reduction="none")
    by_samples = Objective(CrossEntropy(), weights)
    by_weights = Objective(CrossEntropy(), weights, average="weights")
    torch.testing.assert_close(by_samples(logits, labels, 0), (tensor[labels] * losses).sum() / 6)
    expected = functional.cross_entropy(logits, labels, weight=tensor)
    torch.testing.assert_close(by_weights(logits, labels, 0), expected)
    # A batch of one tail sample shows the difference: by its weight's sum it has no weight at all.
    tail = logits[2:3], labels[2:3]
    assert float(by_samples(*tail, 0) / by_weights(*tail, 0)) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("options", "first_weighted"),
    [
        pytest.param(LossRecipe(name="class-balanced"), 0, id="always"),
        pytest.param(LossRecipe(name="ldam", deferred_reweighting=True), 8, id="160-of-200"),
        pytest.param(
            LossRecipe(name="class-balanced", deferred_reweighting=True, reweighting_epoch=3),
            3,
            id="named-epoch",
        ),
        pytest.param(LossRecipe(name="ldam"), None, id="never"),
    ],
)
def test_weights_hold_from_their_epoch_on(options: LossRecipe, first_weighted: int | None) -> None:
    objective = build_objective(options, COUNTS, 10)
    logits, labels = _batch()
    losses = objective.loss(logits, labels)
    weights = torch.from_numpy(class_balanced_weights(COUNTS, 0.9999)).float()[labels]
    for epoch in range(10):
        weighted = first_weighted is not None and epoch >= first_weighted
        expected = (losses * weights).mean() if weighted else losses.mean()
        torch.testing.assert_close(objective(logits, labels, epoch), expected)


ALL: tuple[LossName, ...] = get_args(LossName)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), name=st.sampled_from(ALL), scale=st.sampled_from([1.0, 100.0]))
def test_every_loss_is_finite_not_negative_and_pulls_the_label_up(
    seed: int, name: LossName, scale: float
) -> None:
    objective = build_objective(LossRecipe(name=name), COUNTS, 10)
    logits, labels = _batch(seed)
    logits = (scale * logits).requires_grad_()
    loss = objective(logits, labels, 9)
    loss.backward()
    assert loss.isfinite()
    assert loss >= 0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    if name != "label-smoothing":
        assert (logits.grad[range(6), labels] <= 0).all()


def test_balanced_data_makes_balancing_losses_the_plain_ones() -> None:
    logits, labels = _batch()
    plain = functional.cross_entropy(logits, labels)
    even = np.array([7, 7, 7])
    names: tuple[LossName, ...] = ("class-balanced", "balanced-softmax", "logit-adjustment")
    for name in names:
        objective = build_objective(LossRecipe(name=name), even, 10)
        torch.testing.assert_close(objective(logits, labels, 0), plain)
