"""SCAE's MixUp of tail classes: how often, with whom, and the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from loaders.geometry import Whole
from loaders.image_data import ArrayData
from loaders.policy import Event, ScaePolicy
from loaders.scae_dataset import ScaeDataset
from loaders.transforms import StandardTransform
from tests.loaders.erased_batches import batch_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cache_store.generation import Generation

    Publish = Callable[..., Generation]


def _tail_data() -> ArrayData:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [600, 30, 1])
    images = rng.integers(0, 256, (631, 4, 4, 3), np.uint8)
    return ArrayData(images, labels, ["head", "tail", "lone"])


SMALL = StandardTransform(geometry=Whole(4), mean=(0.0,) * 3, std=(1.0,) * 3)


def test_tail_classes_mix_erase_or_stay_in_the_shares_of_equation_8() -> None:
    data = _tail_data()
    policy = ScaePolicy(num_epochs=300, class_counts=tuple(data.class_counts.tolist()))
    dataset = ScaeDataset(data, None, policy, SMALL)
    tail, lone = [], []
    for epoch in range(300):
        events = dataset.batch(batch_key(list(range(600, 631)), epoch)).events.numpy()
        tail.append(events[:30])
        lone.append(events[30])
    p_k = 0.1 + 0.4 * (30 / 600) ** 0.5
    shares = np.bincount(np.concatenate(tail), minlength=3) / 9000
    np.testing.assert_allclose(shares, [0.5 * (1 - p_k), 0.5 * p_k, 0.5], atol=0.016)
    assert Event.MIXUP not in lone  # one sample has no partner: the erase branch
    assert Event.ERASE in lone


def test_mixed_samples_blend_with_another_sample_of_their_class() -> None:
    data = _tail_data()
    policy = ScaePolicy(
        num_epochs=1, class_counts=tuple(data.class_counts.tolist()), beta=1.0, alpha=1.0
    )
    plain = ScaeDataset(data, None, None, SMALL)
    originals = plain.batch(batch_key(list(range(600, 630)))).images.flatten(1).double()
    batch = ScaeDataset(data, None, policy, SMALL).batch(batch_key(list(range(600, 630))))
    mixed = batch.images.flatten(1).double()
    assert (batch.events == Event.MIXUP).all()
    assert batch.labels.tolist() == [1] * 30
    ratios = []
    for row in range(30):
        best = (np.inf, -1, 0.0)
        for other in range(30):
            if other == row:
                continue
            step = originals[row] - originals[other]
            mu = float((mixed[row] - originals[other]) @ step / (step @ step))
            error = float((originals[other] + mu * step - mixed[row]).norm())
            best = min(best, (error, other, mu))
        assert best[0] < 1e-4
        ratios.append(best[2])
    assert 0 <= min(ratios) < 0.3 < 0.7 < max(ratios) <= 1


def test_neighbour_partners_give_soft_labels(tmp_path: Path, publish_maps: Publish) -> None:
    data = _tail_data()
    publish_maps(data, tmp_path / "c", np.zeros((631, 2, 2), np.uint8))
    counts = tuple(data.class_counts.tolist())
    policy = ScaePolicy(num_epochs=1, class_counts=counts, beta=1.0, partner="neighbor")
    dataset = ScaeDataset(data, tmp_path / "c", policy, SMALL)
    labels = dataset.batch(batch_key(list(range(590, 630)), generation=1)).labels
    assert labels.shape == (40, 3)
    torch.testing.assert_close(labels.sum(1), torch.ones(40))
    torch.testing.assert_close(labels[:10], torch.tensor([[1.0, 0, 0]] * 10))
    assert (labels[10:, 0] == 0).all()
    assert ((labels[10:, 2] > 0) & (labels[10:, 2] < 1)).sum() > 5


def test_a_generation_without_neighbours_mixes_within_the_class_and_says_so(
    tmp_path: Path, publish_maps: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    data = _tail_data()
    publish_maps(data, tmp_path / "c", np.zeros((631, 2, 2), np.uint8), neighbours=False)
    counts = tuple(data.class_counts.tolist())
    policy = ScaePolicy(num_epochs=2, class_counts=counts, beta=1.0, partner="neighbor")
    dataset = ScaeDataset(data, tmp_path / "c", policy, SMALL)
    dataset.set_epoch(1, 1)
    assert [record.message for record in caplog.records] == [
        "generation 1 has no class neighbours: MixUp partners come from the own class"
    ]
    batch = dataset.batch(batch_key(list(range(600, 630)), generation=1))
    assert (batch.events == Event.MIXUP).all()
    torch.testing.assert_close(batch.labels, torch.tensor([[0.0, 1, 0]] * 30))
