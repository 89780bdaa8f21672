"""Small seeded networks and batches shared by the saliency tests."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from pipeline.saliency.networks import build_network

Batch = tuple[Tensor, Tensor]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors gain nothing from more threads, and the machine may be shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    def make(size: int = 32, num_images: int = 4, num_classes: int = 10, seed: int = 0) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(num_images, 3, size, size, generator=generator)
        return images, torch.randint(0, num_classes, (num_images,), generator=generator)

    return make


@pytest.fixture
def make_network(make_batch: Callable[..., Batch]) -> Callable[..., nn.Module]:
    def make(name: str = "resnet8", num_classes: int = 10, size: int = 32) -> nn.Module:
        """Build a random network whose BatchNorm statistics fit its activations."""
        network = build_network(name, num_classes=num_classes, seed=1).module
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        network.eval()
        for norm in norms:
            norm.train().momentum = 1.0
        with torch.no_grad():
            network(make_batch(size, 8, seed=5)[0])
        return network.eval()

    return make
