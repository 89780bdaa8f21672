"""Files that are written anew in place: their folders show nothing, so reading has to notice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from loaders.build import build_loader
from loaders.errors import ChangedImageError, ImageReadError
from loaders.folder_data import FolderData
from loaders.geometry import Whole
from loaders.scae_dataset import ScaeDataset
from loaders.transforms import StandardTransform
from tests.loaders.index_trees import opened, opened_plainly, settle

if TYPE_CHECKING:
    from collections.abc import Callable

WHOLE = StandardTransform(geometry=Whole(8), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


@pytest.fixture
def photos(tmp_path: Path, indexes: Path) -> Path:  # it comes first
    """Six images of two classes in a folder that has an index."""
    root = tmp_path / "photos"
    for row in range(6):
        _save(root / "ab"[row // 3] / f"{row}.png", value=row, side=8)
    settle()
    FolderData(root)
    return root


def _save(path: Path, value: int, side: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 256, (8, side, 3), np.uint8)
    with path.open("r+b" if path.exists() else "wb") as file:  # in place, as an editor may do
        Image.fromarray(pixels).save(file, "PNG")
        file.truncate()


@pytest.fixture
def changed(photos: Path) -> Path:
    """The path of row 4, which holds another image than the index was made of."""
    path = photos / "b/4.png"
    _save(path, value=99, side=9)
    return path


def test_a_changed_file_is_named_when_it_is_read_and_the_next_start_lists_it(
    photos: Path, changed: Path, indexes: Path
) -> None:
    data = FolderData(photos)
    assert opened(photos) != opened_plainly(photos)  # it can't be seen before it is read
    data.read(3)
    message = (
        f"image {changed} has changed since the data was listed, it has "
        f"{changed.stat().st_size} bytes now: run the same command again, which lists the data anew"
    )
    with pytest.raises(ChangedImageError, match=re.escape(message)):
        data.read(4)
    assert list(indexes.iterdir()) == []
    assert opened(photos) == opened_plainly(photos)
    assert FolderData(photos).read(4).shape == (8, 9, 3)


READERS: dict[str, Callable[[FolderData], object]] = {
    "subset": lambda data: data.subset([4, 0]).read(0),
    "memory": lambda data: data.load(),
    "workers": lambda data: list(build_loader(data, WHOLE, batch_size=2, num_workers=1)),
}


@pytest.mark.parametrize("how", list(READERS))
def test_whatever_reads_it_is_told(photos: Path, changed: Path, how: str) -> None:
    data = FolderData(photos)
    with pytest.raises(ChangedImageError, match=re.escape(f"image {changed} has changed since")):
        READERS[how](data)


def test_a_file_that_is_no_image_any_more_is_named_as_such(photos: Path, changed: Path) -> None:
    changed.write_bytes(b"words")
    with pytest.raises(ImageReadError, match="no image format") as caught:
        FolderData(photos).read(4)
    assert not isinstance(caught.value, ChangedImageError)


def test_an_index_that_cannot_be_removed_is_named(
    photos: Path, changed: Path, indexes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    (index,) = indexes.iterdir()
    message = f"now: remove its index {index}, which can't be removed here: Permission denied"
    with pytest.raises(ChangedImageError, match=re.escape(message)):
        FolderData(photos).read(4)
    assert changed.exists()


def test_without_an_index_a_change_after_the_start_is_told_too(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCAE_INDEX_DIR", "off")
    data = FolderData(photos)
    _save(photos / "a/0.png", value=7, side=9)
    with pytest.raises(ChangedImageError, match="run the same command again"):
        data.read(0)


def test_deep_data_notices_other_bytes_of_the_same_length(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / "deep" / label).mkdir(parents=True)
        Image.new("RGB", (4, 4), (9, 9, 9)).save(tmp_path / "deep" / label / "0.bmp")
    settle()
    before = FolderData(tmp_path / "deep").deepened()
    path = tmp_path / "deep/b/0.bmp"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ChangedImageError, match=re.escape(f"image {path} has changed")):
        before.read(1)
    # Opened again, it is known by the bytes at hand, whatever an index says.
    after = FolderData(tmp_path / "deep").deepened()
    assert (after.content_ids != before.content_ids).tolist() == [False, True]
    after.read(1)


def _read_all(data: FolderData, how: str) -> int:
    """Return the number of images delivered, with changed ones accepted."""
    if how == "dataset":
        dataset = ScaeDataset(data, None, None, WHOLE, accept_stale=True)
        return sum(1 for row in range(len(data)) if dataset[row] is not None)
    in_memory = how == "memory"
    loader = build_loader(data, WHOLE, batch_size=2, accept_stale=True, in_memory=in_memory)
    return sum(len(batch.images) for batch in loader)


@pytest.mark.parametrize("how", ["loader", "dataset"])
def test_accept_stale_delivers_changed_images_and_says_so_once(
    photos: Path, changed: Path, indexes: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    _save(photos / "b/5.png", value=98, side=9)
    data = FolderData(photos)
    assert _read_all(data, how) == 6
    (said,) = [record.getMessage() for record in caplog.records]
    assert re.search(rf"image {photos}/b/[45]\.png has changed since the data was listed", said)
    assert said.endswith("its old map is used (--accept-stale)")
    assert list(indexes.iterdir()) == []
    with pytest.raises(ChangedImageError):  # the data itself stays strict
        data.read(4)
    assert changed.exists()


def test_accept_stale_holds_for_images_kept_in_memory(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = photos / "b/4.png"
    with path.open("ab") as file:
        file.write(b"\0")  # the same image, another file
    assert _read_all(FolderData(photos), "memory") == 6
    assert f"image {path} has changed since the data was listed" in caplog.text
    with pytest.raises(ChangedImageError, match="run the same command again"):
        build_loader(_reindexed(photos), WHOLE, in_memory=True)


def _reindexed(photos: Path) -> FolderData:
    """Return data of an index that a later change has made wrong."""
    data = FolderData(photos)
    with (photos / "b/4.png").open("ab") as file:
        file.write(b"\0")
    return data
