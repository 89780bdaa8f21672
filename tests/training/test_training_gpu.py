"""What holds on a CUDA device; `make test-gpu` runs these, and elsewhere they skip.

Figures are printed and not compared with anything: how fast a GPU should be, its owner knows.
"""

from __future__ import annotations

import csv
import json
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.nn.parallel import DistributedDataParallel

from cache_store.store import SaliencyStore
from cli.main import main
from loaders.build import build_loader
from loaders.geometry import CropFlip
from loaders.named_data import open_data
from loaders.policy import ScaePolicy
from loaders.transforms import StandardTransform
from pipeline.refresh.job import execute
from pipeline.refresh.plan import RefreshOptions, plan_refresh
from pipeline.refresh.sources import DataSource, NetworkSource
from pipeline.training.trainer import TrainOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Literal

    from numpy.typing import NDArray

    from pipeline.training.recipe import Recipe

DEVICE: Literal["cuda"] = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


def _maps(folder: Path, cache: Path, device: Literal["cpu", "cuda"]) -> NDArray[np.uint8]:
    options = RefreshOptions(size=32, batch_size=8, device=device)
    network = NetworkSource(name="resnet8", num_classes=3)
    generation = execute(
        plan_refresh(DataSource(name=str(folder)), network, cache, options)
    ).generation
    assert generation.provenance.device_type == device
    return np.asarray(generation.saliency[:])


def test_refresh_makes_the_maps_of_the_cpu_within_two_levels(
    tmp_path: Path, jpeg_folder: Callable[..., Path]
) -> None:
    folder = jpeg_folder()
    ours = _maps(folder, tmp_path / "gpu", DEVICE).astype(int)
    cpu = _maps(folder, tmp_path / "cpu", "cpu").astype(int)
    assert cpu.max() == 255
    assert np.abs(ours - cpu).max() <= 2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_run_trains_refreshes_and_resumes(
    precision: str, tmp_path: Path, tiny_recipe: Callable[..., Recipe]
) -> None:
    words = (f"train.device={DEVICE}", f"train.precision={precision}", "train.workers=1")
    options = TrainOptions(run=tmp_path / "run", resume=True, log=lambda _line: None)
    folder = train(tiny_recipe(*words), options)
    rows = list(csv.DictReader(folder.metrics_path.read_text().splitlines()))
    assert len(rows) == 4
    assert all(np.isfinite(float(row["train_loss"])) for row in rows)
    generation = SaliencyStore.open(folder.cache).latest()
    assert generation.provenance.device_type == DEVICE
    waits = [float(row["seconds_wait"]) / float(row["seconds_train"]) for row in rows]
    sys.stderr.write(f"{precision}: share of waiting for data {np.median(waits):.1%}\n")
    train(tiny_recipe(*words), options)  # goes on with what is done already


def test_batches_are_pinned_and_copied_whole() -> None:
    data = open_data("shapes", num_classes=4, imbalance=20)
    policy = ScaePolicy(num_epochs=2, class_counts=tuple(data.class_counts))
    transform = StandardTransform(geometry=CropFlip(32), mean=(0.5,) * 3, std=(0.25,) * 3)
    loader = build_loader(
        data, transform, cache=None, policy=policy, generation=0, batch_size=32, pin_memory=True
    )
    loader.set_epoch(0, 0)
    for batch in loader:
        assert batch.images.is_pinned()
        moved = batch.to(torch.device(DEVICE))
        torch.cuda.synchronize()
        assert torch.equal(moved.images.cpu(), batch.images)
        assert torch.equal(moved.labels.cpu(), batch.labels)


def test_nccl_with_one_rank_gives_the_gradients_of_no_rank(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torch.nn.Linear(8, 3).to(DEVICE)
    images = torch.randn(16, 8, device=DEVICE)
    network(images).square().sum().backward()
    expected = network.weight.grad
    assert expected is not None
    network.zero_grad()
    torch.distributed.init_process_group(
        f"cpu:gloo,{DEVICE}:nccl", rank=0, world_size=1, init_method=f"file://{tmp_path}/meeting"
    )
    try:
        DistributedDataParallel(network)(images).square().sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert network.weight.grad is not None
    torch.testing.assert_close(network.weight.grad, expected)


def test_throughput_of_maps_is_printed() -> None:
    words = ["bench", "refresh", "--network", "resnet32", "--rounds", "3", "--json"]
    done = CliRunner().invoke(main, [*words, "--device", DEVICE])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout[done.stdout.index("{") :])
    sys.stderr.write(json.dumps(figures, indent=1) + "\n")
    assert figures["networks"]
