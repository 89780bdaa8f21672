"""What Grad-CAM can't do it says in one line: the thing, what is allowed, what was found."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import NetworkError
from pipeline.saliency.grad_cam import grad_cam

MakeBatch = Callable[..., tuple[Tensor, Tensor]]
MakeNetwork = Callable[..., nn.Module]


class Stub(nn.Module):
    """Ten logits from a convolution, with one thing gone wrong."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fault = fault
        self.conv = nn.Conv2d(3, 10, 3, padding=1)
        self.act = nn.ReLU()
        self.flat = nn.Flatten()
        self.unused = nn.Conv2d(3, 10, 1)

    def forward(self, images: Tensor) -> object:
        features = self.act(self.conv(images))
        logits = self.flat(features.mean(dim=(2, 3)))
        match self.fault:
            case "twice":
                self.act(features)
            case "tuple":
                return logits, features
            case "dense":
                return features
            case "detached":
                return logits.detach()
            case "constant":
                return self.unused(images).mean(dim=(2, 3)) + 0 * logits.detach()
            case "infinite":
                logits = torch.where(images.amax((1, 2, 3))[:, None] > 90, torch.inf, logits)
            case "short":
                return logits[1:]
        return logits


@pytest.mark.parametrize(
    ("fault", "layer", "message"),
    [
        ("twice", "act", r"'act' must run once in a forward pass, got a second call"),
        ("tuple", "act", r"network Stub must return logits \(4, K\), got tuple"),
        ("dense", "act", r"must return logits \(4, K\), got \(4, 10, 32, 32\) float32"),
        ("detached", "act", r"'act' must have an influence on the logits of Stub, got none"),
        ("constant", "act", r"'act' must have an influence on the logits of Stub, got none"),
        ("short", "act", r"logits must be \(4, K\), got \(3, 10\)"),
        ("", "flat", r"'flat' must give \(4, C, h, w\).*tokens \(4, N, C\), got \(4, 10\) float32"),
        ("", "unused", r"'unused' must run in the forward pass of Stub, got no call"),
        ("", "con", r"target layer must be a layer of Stub, got 'con' \(did you mean 'conv'\?\)"),
    ],
)
def test_grad_cam_refuses_what_it_cannot_use(
    fault: str, layer: str, message: str, make_batch: MakeBatch
) -> None:
    with pytest.raises(NetworkError, match=message):
        grad_cam(Stub(fault), *make_batch(), layer)


def test_layer_that_returns_a_tuple_is_refused(make_batch: MakeBatch) -> None:
    class Pair(nn.Module):
        def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
            return features, features

    class WithPair(Stub):
        def __init__(self) -> None:
            super().__init__()
            self.pair = Pair()

        def forward(self, images: Tensor) -> object:
            return self.pair(self.conv(images))[0].mean(dim=(2, 3))

    with pytest.raises(NetworkError, match=r"'pair' must give .* got tuple"):
        grad_cam(WithPair(), *make_batch(), "pair")


def test_tokens_after_the_last_attention_are_refused(make_batch: MakeBatch) -> None:
    class ClassToken(Stub):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(3, 10)

        def forward(self, images: Tensor) -> object:
            return self.last(images.flatten(2)[:, :, :17].transpose(1, 2))[:, 0]

    with pytest.raises(NetworkError, match="got a gradient for the class token alone"):
        grad_cam(ClassToken(), *make_batch(), "last")


def test_logits_that_are_not_finite_are_refused_by_row(make_batch: MakeBatch) -> None:
    images, labels = make_batch()
    images[2] = 100
    message = r"in 1 of 4 rows, first \[2\]: the logits are not finite"
    with pytest.raises(NetworkError, match=message):
        grad_cam(Stub("infinite"), images, labels, "act")
    images[1, 0, 0, 0] = torch.nan
    with pytest.raises(NetworkError, match=r"in 2 of 4 rows, first \[1, 2\]"):
        grad_cam(Stub("infinite"), images, labels, "act")


@pytest.mark.parametrize("wrong", [-1, 10])
def test_label_outside_the_logits_is_refused(wrong: int, make_batch: MakeBatch) -> None:
    images, labels = make_batch()
    labels[3] = wrong
    with pytest.raises(NetworkError, match=rf"labels must be in \[0, 10\).*got {wrong} in row 3"):
        grad_cam(Stub(), images, labels, "act")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        pytest.param(torch.zeros(3, 8, 8), torch.zeros(1).long(), "images must be", id="no-batch"),
        pytest.param(torch.zeros(0, 3, 8, 8), torch.zeros(0).long(), "B >= 1", id="empty"),
        pytest.param(
            torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
            torch.zeros(1).long(),
            r"floating point.*got \(1, 3, 8, 8\) uint8",
            id="bytes",
        ),
        pytest.param(
            torch.zeros(2, 3, 8, 8),
            torch.zeros(3).long(),
            r"labels must be \(2,\) integers.*got \(3,\) int64",
            id="lengths-differ",
        ),
        pytest.param(
            torch.zeros(2, 3, 8, 8),
            torch.zeros(2),
            r"labels must be \(2,\) integers.*got \(2,\) float32",
            id="float-labels",
        ),
    ],
)
def test_malformed_batch_is_refused(images: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        grad_cam(Stub(), images, labels, "act")
