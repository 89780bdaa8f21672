"""SHA-256 over every byte delivered: equal however the batches are made."""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
from typing import TYPE_CHECKING

import pytest
import torch
from torch.utils.data import DataLoader

from loaders.geometry import CropFlip
from loaders.scae_dataset import ScaeDataset
from loaders.transforms import StandardTransform

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from loaders.image_data import ArrayData
    from loaders.scae_loader import ScaeLoader
    from tests.conftest import TortureLog

    MakeLoader = Callable[..., ScaeLoader]

# More workers than processors are of use here: they finish in another order.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")

WORKERS = (1, 2, 4)
METHODS = ("fork", "spawn", "forkserver")
EVERY_CASE = [
    (0, "fork", False, 1),
    *itertools.product(WORKERS, METHODS, (False, True), (1, 4)),
]
"""Workers, start method, persistent workers, prefetched batches."""

PAIRS = [
    (1, "fork", True, 4),
    (2, "fork", False, 1),
    (4, "fork", False, 4),
    (1, "forkserver", True, 1),
    (2, "forkserver", True, 4),
    (4, "forkserver", False, 1),
    (1, "spawn", False, 4),
    (2, "spawn", True, 1),
    (4, "spawn", True, 4),
]
"""A choice that holds every pair of values of two options; see its own test."""


@pytest.fixture(autouse=True)
def _quick_fork_server() -> None:
    """Import once in the server what each of its children would import."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["loaders.build"])


def _digest(loader: ScaeLoader) -> str:
    """Two epochs, the second by other maps."""
    seen = hashlib.sha256()
    for epoch in range(2):
        loader.set_epoch(epoch, epoch + 1)
        for batch in loader:
            fields = (batch.images, batch.labels, batch.indices, batch.events, batch.boxes)
            for tensor in (*fields, batch.unguided, batch.saliency):
                seen.update(tensor.contiguous().numpy().tobytes())
    return seen.hexdigest()


def _build(make_loader: MakeLoader, case: tuple[int, str, bool, int]) -> ScaeLoader:
    workers, method, persistent, prefetch = case
    return make_loader(
        num_workers=workers,
        start_method=method,
        persistent_workers=persistent,
        prefetch_factor=prefetch,
    )


def test_the_fast_choice_of_cases_covers_every_pair() -> None:
    values = (WORKERS, METHODS, (False, True), (1, 4))
    for first, second in itertools.combinations(range(4), 2):
        seen = {(case[first], case[second]) for case in PAIRS}
        assert seen == set(itertools.product(values[first], values[second]))


@pytest.mark.parametrize("case", PAIRS, ids=lambda case: "-".join(map(str, case)))
def test_workers_change_no_byte(make_loader: MakeLoader, case: tuple[int, str, bool, int]) -> None:
    assert _digest(_build(make_loader, case)) == _digest(make_loader())


@pytest.mark.torture
def test_no_way_of_starting_workers_changes_a_byte(
    make_loader: MakeLoader, open_torture_log: Callable[..., TortureLog]
) -> None:
    expected = _digest(make_loader())
    cases = {"-".join(map(str, case)): case for case in EVERY_CASE}
    for name in open_torture_log("loader-digest", "loaders").todo(list(cases)):
        assert _digest(_build(make_loader, cases[name])) == expected, name


def test_a_digest_notices_what_it_should(make_loader: MakeLoader) -> None:
    digests = {_digest(make_loader(seed=seed)) for seed in (3, 4)}
    digests.add(_digest(make_loader(sampler="sequential")))
    digests.add(_digest(make_loader(policy=None)))
    assert len(digests) == 4


@pytest.mark.parametrize("sampler", ["shuffle", "square_root", "repeated"])
def test_ranks_together_deliver_the_same_samples_with_the_same_boxes(
    make_loader: MakeLoader, sampler: str
) -> None:
    def delivered(world: int) -> list[bytes]:
        samples = []
        for rank in range(world):
            loader = make_loader(
                batch_size=8 // world, rank=rank, world_size=world, sampler=sampler
            )
            for batch in loader:
                for row in range(len(batch.indices)):
                    parts = (batch.indices, batch.boxes, batch.labels, batch.images)
                    samples.append(b"".join(part[row].numpy().tobytes() for part in parts))
        return sorted(samples)

    assert delivered(1) == delivered(2) == delivered(4)


def test_a_sample_that_comes_again_in_an_epoch_is_drawn_anew(make_loader: MakeLoader) -> None:
    seen: dict[int, list[torch.Tensor]] = {}
    for batch in make_loader(sampler="repeated", repeats=6, policy=None):
        for index, image in zip(batch.indices.tolist(), batch.images, strict=True):
            seen.setdefault(index, []).append(image)
    times = sorted(map(len, seen.values()))
    assert times == [4, *[6] * 7]
    # 25 crops, mirrored or not: six draws are almost never all alike, and seldom all different.
    for images in seen.values():
        assert len({image.numpy().tobytes() for image in images}) >= 3


@pytest.mark.parametrize(
    "method", ["fork", "forkserver", pytest.param("spawn", marks=pytest.mark.torture)]
)
def test_a_plain_data_loader_gives_the_same_however_workers_start(
    tmp_path: Path, mixed_data: ArrayData, make_loader: MakeLoader, method: str
) -> None:
    """Epoch and generation reach persistent workers through shared memory."""
    policy = make_loader().dataset.method
    transform = StandardTransform(geometry=CropFlip(8, padding=2), mean=(0.5,) * 3, std=(0.2,) * 3)
    dataset = ScaeDataset(mixed_data, tmp_path / "loader-cache", policy, transform, generation=1)
    loader = DataLoader(
        dataset,
        batch_size=16,
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context=method,
    )
    for epoch in range(2):
        dataset.set_epoch(epoch, epoch + 1)
        expected = torch.stack([dataset[index][0] for index in range(len(dataset))])
        assert torch.equal(torch.cat([images for images, _ in loader]), expected)
