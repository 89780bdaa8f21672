"""KeepAugment by input gradients: the gradients, and what is done with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from torch import Tensor, nn

from loaders.batches import Batch
from loaders.methods.keep_augment import KeepAugment, KeepAugmentOptions, region_importance
from loaders.methods.method import Setting
from loaders.policy import Event
from loaders.view_batch import ViewBatch
from pipeline.training.keep_salient import input_gradients, keep_salient


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 4),
    )


@pytest.fixture
def images() -> Tensor:
    return torch.randn(10, 3, 16, 16, generator=torch.Generator().manual_seed(1))


LABELS = torch.arange(10) % 4


def _batch(images: Tensor, originals: Tensor | None = None, chosen: int = 10) -> Batch:
    num = len(images)
    events = torch.zeros(num, dtype=torch.uint8)
    events[:chosen] = Event.ERASE if originals is None else Event.KEEP
    return Batch(
        images=images,
        labels=LABELS,
        indices=torch.arange(num),
        draws=torch.zeros(num, dtype=torch.int64),
        events=events,
        boxes=torch.zeros(num, 4, dtype=torch.int64),
        erased=torch.zeros(num, dtype=torch.int64),
        unguided=torch.zeros(num, dtype=torch.bool),
        saliency=torch.full((num,), torch.nan),
        views=ViewBatch.whole(num, (16, 16)),
        originals=originals,
    )


def _keep(**options: Any) -> KeepAugment:  # noqa: ANN401
    setting = Setting(
        num_epochs=2, class_counts=(1, 1, 1, 1), size=16, mean=(0.5,) * 3, std=(0.2,) * 3
    )
    return KeepAugmentOptions(**{"length": 5, **options}).build(setting)


def test_gradients_equal_captums_in_eval_mode(network: nn.Module, images: Tensor) -> None:
    network.train()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    ours = input_gradients(network, images, LABELS)
    assert all(module.training for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])
    network.eval()
    theirs = Saliency(network).attribute(images.clone().requires_grad_(), target=LABELS)
    torch.testing.assert_close(ours, theirs.amax(1).detach())


def test_gradients_of_shrunk_images_are_enlarged(network: nn.Module, images: Tensor) -> None:
    small = input_gradients(network, images, LABELS, size=8)
    assert small.shape == (10, 16, 16)
    assert not torch.equal(small, input_gradients(network, images, LABELS))


@pytest.mark.parametrize("mode", ["cut", "paste"])
def test_squares_are_chosen_by_the_gradients_of_the_original(
    network: nn.Module, images: Tensor, mode: str
) -> None:
    saliency = input_gradients(network, images, LABELS).numpy()
    importance = region_importance(saliency, 5)
    augmented = images + 1
    before = images.clone() if mode == "cut" else augmented.clone()
    batch = _batch(images.clone()) if mode == "cut" else _batch(augmented, images.clone())
    done = keep_salient(_keep(mode=mode, tau=0.7), network, batch, epoch=1, seed=0)
    assert done.originals is None
    for slot, (y0, x0, y1, x1) in enumerate(done.boxes.tolist()):
        limit = np.quantile(importance[slot], 0.7)
        expected = before[slot].clone()
        if mode == "cut":
            assert importance[slot, y0, x0] < limit
            expected[:, y0:y1, x0:x1] = 0
        else:
            assert importance[slot, y0, x0] > limit
            expected[:, y0:y1, x0:x1] = images[slot, :, y0:y1, x0:x1]
        assert torch.equal(done.images[slot], expected)


def test_draws_depend_on_seed_and_epoch_alone(network: nn.Module, images: Tensor) -> None:
    def boxes(**key: int) -> list[list[int]]:
        torch.manual_seed(sum(key.values()))
        done = keep_salient(_keep(), network, _batch(images.clone()), **key)
        return done.boxes.tolist()

    assert boxes(epoch=1, seed=0) == boxes(epoch=1, seed=0)
    assert boxes(epoch=1, seed=0) != boxes(epoch=2, seed=0)
    assert boxes(epoch=1, seed=0) != boxes(epoch=1, seed=2)


def test_images_that_are_not_chosen_stay_as_they_are(network: nn.Module, images: Tensor) -> None:
    for chosen in (0, 4):
        batch = _batch(images.clone(), chosen=chosen)
        done = keep_salient(_keep(), network, batch, epoch=0, seed=0)
        assert torch.equal(done.images[chosen:], images[chosen:])
        assert not (done.images[:chosen] == images[:chosen]).flatten(1).all(1).any()
