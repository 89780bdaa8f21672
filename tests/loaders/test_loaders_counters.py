"""What a loader reports of an epoch, against sums over its batches."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from loaders.build import build_loader
from loaders.geometry import Whole
from loaders.methods.draft import Draft
from loaders.methods.method import Method
from loaders.policy import Event, ScaePolicy
from loaders.transforms import StandardTransform

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from loaders.image_data import ArrayData
    from loaders.scae_loader import ScaeLoader

    MakeLoader = Callable[..., ScaeLoader]


def test_a_report_sums_over_the_batches(make_loader: MakeLoader, mixed_data: ArrayData) -> None:
    loader = make_loader(num_workers=1, start_method="fork")
    loader.set_epoch(2, 2)
    batches = list(loader)
    report = loader.report()
    events = torch.cat([batch.events for batch in batches]).numpy()
    unguided = torch.cat([batch.unguided for batch in batches]).numpy()
    indices = torch.cat([batch.indices for batch in batches]).numpy()
    erased = np.concatenate(
        [
            [int(((y1 - y0) * (x1 - x0)).item()) for y0, x0, y1, x1 in batch.boxes]
            for batch in batches
        ]
    )
    assert (report.epoch, report.generation, report.samples) == (2, 2, 46)
    assert report.erased == (events == Event.ERASE).sum() > 10
    assert report.mixed == (events == Event.MIXUP).sum() > 2
    assert report.unguided == unguided.sum() > 0
    assert report.erased_pixels == pytest.approx(erased.sum() / (46 * 64))
    medium = np.isin(mixed_data.labels[indices], [0])  # 20 images; the other classes have fewer
    assert report.erased_pixels_by_group == {
        "many": None,
        "medium": pytest.approx(erased[medium].mean() / 64),
        "few": pytest.approx(erased[~medium].mean() / 64),
    }


def test_mean_saliency_at_centres_is_that_of_the_maps(
    tmp_path: Path, toy_images: Callable[..., ArrayData], publish_maps: Callable[..., object]
) -> None:
    """With lambda at 200 every centre lies where A_hat is nearly 1; with -200 where it is 0."""
    data = toy_images()
    maps = np.zeros((40, 4, 4), np.uint8)
    maps[:, 1, 2] = 255
    publish_maps(data, tmp_path / "c", maps)
    means = []
    for lam in (200.0, -200.0):
        policy = ScaePolicy(
            num_epochs=1, class_counts=[10] * 4, lambda_max=lam, curriculum=False, p_min=1, p_max=1
        )
        transform = StandardTransform(geometry=Whole(16), mean=(0.5,) * 3, std=(0.5,) * 3)
        loader = build_loader(data, transform, cache=tmp_path / "c", policy=policy)
        list(loader)
        means.append(loader.report().saliency)
    assert means[0] == pytest.approx(1, abs=0.05)
    assert means[1] == pytest.approx(0, abs=0.02)


def test_nothing_erased_is_reported_as_such(make_loader: MakeLoader) -> None:
    loader = make_loader(policy=None)
    list(loader)
    report = loader.report()
    assert (report.erased, report.mixed, report.saliency) == (0, 0, None)
    assert re.fullmatch(
        r"epoch 0: 46 samples, erased 0\.0%, mixed 0\.0%, without a map 0\.0% of the erased, "
        r"erased pixels 0\.0% \(medium 0\.0%, few 0\.0%\), data wait \d+\.\d%, "
        r"method \d+\.\d us a sample",
        report.text,
    )


def test_data_wait_is_the_time_spent_asking(make_loader: MakeLoader) -> None:
    loader = make_loader()
    for _ in loader:
        time.sleep(0.05)
    report = loader.report()
    assert report.seconds >= 6 * 0.05
    assert 0 < report.seconds_wait < report.seconds - 6 * 0.04
    assert report.wait_share == report.seconds_wait / report.seconds


class Burning(Method):
    """Takes 5 ms of processor time a batch, and 30 ms in which it only waits."""

    __slots__ = ()

    def apply(self, draft: Draft) -> None:
        begun = time.thread_time()
        while time.thread_time() - begun < 0.005:
            pass
        time.sleep(0.03)


@pytest.mark.parametrize("workers", [0, 2])
def test_method_time_is_its_processor_time_in_all_processes(
    make_loader: MakeLoader, workers: int
) -> None:
    loader = make_loader(policy=Burning(), num_workers=workers)
    batches = list(loader)
    assert [0.005 <= batch.seconds_method < 0.03 for batch in batches] == [True] * 6
    assert loader.report().seconds_method == sum(batch.seconds_method for batch in batches)
    assert loader.num_workers == workers


def test_a_report_begins_anew_with_each_iteration(make_loader: MakeLoader) -> None:
    loader = make_loader()
    for batches in (1, 3):
        iterator = iter(loader)
        for _ in range(batches):
            next(iterator)
        assert loader.report().samples == 8 * batches
