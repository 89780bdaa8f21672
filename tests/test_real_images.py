"""The main parts on real photographs and a really trained network; needs the folder SCAE_DATA."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam

from loaders.decode import read_resized
from loaders.folder_data import FolderData
from loaders.gains import exact_gains
from loaders.lookup import SaliencyField
from loaders.named_data import open_data
from loaders.view_batch import ViewBatch
from pipeline.refresh.job import execute
from pipeline.refresh.plan import RefreshOptions, plan_refresh
from pipeline.refresh.sources import DataSource, NetworkSource

SCAE_DATA = os.environ.get("SCAE_DATA", "")
EXAMPLE = Path(__file__).parent.parent / "examples" / "efficientnet_lite0.py"
NUM_PHOTOS = 24

pytestmark = pytest.mark.skipif(
    not Path(SCAE_DATA, "imagenet-400.tar").is_file() or not SCAE_DATA,
    reason="set SCAE_DATA to the folder with imagenet-400.tar and cifar10-jpeg.tar.gz",
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every 16th photograph, with labels.csv cut to them."""
    root = tmp_path_factory.mktemp("photos")
    with tarfile.open(Path(SCAE_DATA, "imagenet-400.tar")) as archive:
        table = archive.extractfile("labels.csv") or archive.extractfile("./labels.csv")
        assert table is not None
        head, *lines = table.read().decode().splitlines()
        kept = lines[:: len(lines) // NUM_PHOTOS][:NUM_PHOTOS]
        (root / "labels.csv").write_text("\n".join([head, *kept]) + "\n")
        wanted = {line.split(",")[0] for line in kept}
        for member in archive:
            if member.name.removeprefix("./") in wanted:
                archive.extract(member, root, filter="data")
    return root


@torch.no_grad()
def _label_probability(
    network: torch.nn.Module, inputs: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    probability: torch.Tensor = network(inputs).softmax(1)
    return probability[torch.arange(len(labels)), labels]


def test_maps_of_a_trained_network_find_what_its_decision_rests_on(
    tmp_path: Path, photos: Path
) -> None:
    """Stored maps are captum's, and erasing their peaks hurts more than erasing their valleys."""
    source = DataSource(name=str(photos), num_classes=1000)
    network = NetworkSource(name=f"{EXAMPLE}:build", num_classes=1000, weights="default")
    data, built = source.open(), network.build()
    options = RefreshOptions(batch_size=12)
    plan = plan_refresh(source, network, tmp_path / "c", options, opened=data, built=built)
    generation = execute(plan, opened=data, built=built).generation
    maps = np.asarray(generation.saliency[:])

    module = built.module.eval().to(memory_format=torch.contiguous_format)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (built.mean, built.std))
    inputs = (read_resized(data, range(len(data)), 224).float() / 255 - mean) / std
    labels = torch.from_numpy(data.labels.copy())
    layer = module.get_submodule(generation.provenance.target_layer)
    expected = LayerGradCam(module, layer).attribute(
        inputs[:4], labels[:4], relu_attributions=True
    )[:, 0]
    scaled = expected / expected.amax((1, 2), keepdim=True) * 255
    assert np.abs(maps[:4] - scaled.detach().numpy()).max() <= 0.6

    gains, floors = exact_gains(maps, (224, 224))
    field = SaliencyField.build(maps, gains, floors, ViewBatch.whole(len(maps), (224, 224)))
    dense = torch.from_numpy(field.dense())
    order = dense.flatten(1).argsort(dim=1)
    share = order.shape[1] // 5
    drops = []
    for erased in (order[:, -share:], order[:, :share]):
        kept = torch.ones_like(dense).flatten(1).scatter_(1, erased, 0.0).view_as(dense)
        changed = _label_probability(module, inputs * kept[:, None].float(), labels)
        drops.append(float((_label_probability(module, inputs, labels) - changed).mean()))
    salient, other = drops
    assert salient > 2 * max(other, 0.01)


def test_cifar10_jpegs_make_the_long_tailed_subset(tmp_path: Path) -> None:
    path = Path(SCAE_DATA, "cifar10-jpeg.tar.gz")
    if not path.is_file():
        pytest.skip("SCAE_DATA has no cifar10-jpeg.tar.gz")
    counts: dict[str, int] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            parts = member.name.removeprefix("./").split("/")
            if parts[0] == "train" and member.isfile() and counts.get(parts[1], 0) < 60:
                counts[parts[1]] = counts.get(parts[1], 0) + 1
                archive.extract(member, tmp_path, filter="data")
    data = open_data(tmp_path / "train", imbalance=10)
    assert data.num_classes == 10
    assert data.class_counts.tolist() == [int(60 * 0.1 ** (k / 9)) for k in range(10)]
    assert isinstance(data, FolderData)
    arrays = data.load()
    assert arrays.images.shape == (len(data), 32, 32, 3)
    assert arrays.fingerprint == data.fingerprint
