import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from PIL import Image

from loaders.errors import DataError, OptionError
from loaders.folder_data import FolderData
from loaders.image_data import ArrayData
from loaders.long_tail import long_tail_rows
from loaders.named_data import open_data


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, count in {"train/a": 8, "train/b": 8, "val/a": 3, "val/b": 2}.items():
        (tmp_path / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / name / f"{number}.png")
    return tmp_path


class _FakeCifar:
    """Stands in for torchvision's class, whose files are large and checked by their MD5."""

    classes = ("plane", "car")

    def __init__(self, root: str, *, train: bool, download: bool) -> None:
        if not download and root.endswith("nowhere"):
            raise RuntimeError("Dataset not found or corrupted")
        count = 20 if train else 4
        self.data = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
        self.targets = [i % 2 for i in range(count)]


@pytest.fixture
def fake_cifar(monkeypatch: pytest.MonkeyPatch) -> type[_FakeCifar]:
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", _FakeCifar)
    monkeypatch.setattr(torchvision.datasets, "CIFAR100", _FakeCifar)
    return _FakeCifar


def test_shapes_are_long_tailed_unless_told_otherwise() -> None:
    data = open_data("shapes", num_classes=2)
    assert isinstance(data, ArrayData)
    assert data.class_counts.tolist() == [650, 6]
    assert open_data("shapes", split="test", num_classes=2).class_counts.tolist() == [50, 50]
    few = open_data("shapes", num_classes=2, imbalance=65, subset_seed=2)
    assert few.class_counts.tolist() == [650, 10]
    assert not np.array_equal(few.sample_ids[:650], data.sample_ids[:650])
    assert set(few.sample_ids[:650]) == set(data.sample_ids[:650])


def test_a_folder_is_opened_by_its_path(photos: Path) -> None:
    data = open_data(photos)
    assert isinstance(data, FolderData)
    assert data.class_counts.tolist() == [8, 8]
    assert open_data(str(photos), split="test").class_counts.tolist() == [3, 2]
    assert open_data(photos, imbalance=1).labels.tolist() == data.labels.tolist()


def test_a_folder_is_made_long_tailed_and_its_test_split_is_not(photos: Path) -> None:
    full, tail = open_data(photos), open_data(photos, imbalance=4, subset_seed=5)
    rows = long_tail_rows(full.labels, 4, 5)
    assert tail.class_counts.tolist() == [8, 2]
    assert tail.sample_ids.tolist() == full.sample_ids[rows].tolist()
    assert open_data(photos, split="test", imbalance=4).class_counts.tolist() == [3, 2]


def test_an_imbalance_that_empties_a_class_is_rejected(photos: Path) -> None:
    with pytest.raises(DataError, match=re.escape("without images; use 8 (its largest class)")):
        open_data(photos, imbalance=100)
    with pytest.raises(OptionError, match="imbalance must be a number >= 1"):
        open_data(photos, imbalance=0.5)


def test_imagenet_is_a_folder_at_its_root(photos: Path) -> None:
    data = open_data("imagenet", root=photos)
    assert data.name == "imagenet"
    assert data.fingerprint == open_data(photos).fingerprint
    with pytest.raises(DataError, match="imagenet needs the folder"):
        open_data("imagenet")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_comes_from_torchvision_in_its_order(
    fake_cifar: type[_FakeCifar], tmp_path: Path, name: str
) -> None:
    data = open_data(name, root=tmp_path)
    source = fake_cifar(str(tmp_path), train=True, download=False)
    assert isinstance(data, ArrayData)
    assert data.name == name
    assert data.class_names == ("plane", "car")
    np.testing.assert_array_equal(data.images, source.data)
    assert data.labels.tolist() == source.targets
    assert len(open_data(name, root=tmp_path, split="test")) == 4
    tail = open_data(name, root=tmp_path, imbalance=5)
    assert tail.class_counts.tolist() == [10, 2]
    assert tail.describe(11) == f"{name}[{long_tail_rows(source.targets, 5)[11]}]"


@pytest.mark.usefixtures("fake_cifar")
def test_cifar_is_fetched_when_asked_for(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(DataError, match="fetch it with --download"):
        open_data("cifar10", root=nowhere)
    assert len(open_data("cifar10", root=nowhere, download=True)) == 20
    with pytest.raises(DataError, match="has 2 classes, got num_classes = 10"):
        open_data("cifar10", root=nowhere, download=True, num_classes=10)


def test_missing_cifar_files_are_an_error_with_the_cure(tmp_path: Path) -> None:
    message = f"cifar100 is not in {tmp_path} or is damaged"
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        open_data("cifar100", root=tmp_path)
    assert str(caught.value).endswith("fetch it with --download")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        pytest.param("CIFAR-10", "did you mean cifar10?", id="cifar"),
        pytest.param("shape", "did you mean shapes?", id="shapes"),
        pytest.param("/no/such/folder", "/no/such/folder is no folder", id="path"),
    ],
)
def test_unknown_data_is_an_error_that_names_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(DataError, match="must be one of shapes, cifar10, cifar100") as caught:
        open_data(name)
    assert str(caught.value).endswith(hint)


def test_a_folder_beside_the_one_named_may_have_been_meant(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photo.txt").touch()
    with pytest.raises(DataError, match=rf"did you mean {tmp_path / 'photos'}\?$"):
        open_data(tmp_path / "photo")


def test_options_that_fit_nothing_are_rejected(photos: Path) -> None:
    with pytest.raises(DataError, match="root is for data given by name"):
        open_data(photos, root=photos)
    with pytest.raises(OptionError, match="'train' or 'test', got 'val'"):
        open_data(photos, split="val")


def test_opening_a_folder_does_not_import_torch(photos: Path) -> None:
    code = (
        "import sys; from loaders.named_data import open_data; open_data(sys.argv[1]);"
        "sys.exit('torch' in sys.modules)"
    )
    command: list[Any] = [sys.executable, "-P", "-c", code, str(photos)]
    assert subprocess.run(command, check=False).returncode == 0
