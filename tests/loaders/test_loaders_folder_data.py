import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loaders.errors import DataError, ImageReadError, OptionError
from loaders.folder_data import FolderData, to_arrays


def _save(root: Path, name: str, size: tuple[int, int] = (8, 6), value: int = 0) -> None:
    """Write an image of (width, height); its pixels are made from its name and `value`."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int.from_bytes(hashlib.sha256(f"{name}{value}".encode()).digest()[:4], "little")
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("cat/b.jpg", "cat/a.png", "Ant/x.JPEG", "dög/日本.png", "dög/sub/y.bmp"):
        _save(tmp_path, name)
    return tmp_path


def test_class_folders_are_sorted_and_files_are_too(root: Path) -> None:
    data = FolderData(root)
    assert data.class_names == ("Ant", "cat", "dög")
    assert data.labels.tolist() == [0, 1, 1, 2, 2]
    assert data.class_counts.tolist() == [1, 2, 2]
    assert data.name == root.name
    names = [Path(data.describe(row)).relative_to(root).as_posix() for row in range(5)]
    assert names == ["Ant/x.JPEG", "cat/a.png", "cat/b.jpg", "dög/sub/y.bmp", "dög/日本.png"]
    assert data.read(1).shape == (6, 8, 3)


def test_ids_are_hashes_of_path_and_label_and_of_the_size(root: Path) -> None:
    data = FolderData(root)
    sample = hashlib.blake2b("dög/日本.png\0".encode() + b"2").digest()[:8]
    size = str((root / "dög/日本.png").stat().st_size).encode()
    content = hashlib.blake2b(size, digest_size=8).digest()
    assert data.sample_ids[4] == int.from_bytes(sample, "little")
    assert data.content_ids[4] == int.from_bytes(content, "little")


def test_fingerprint_sees_a_file_of_another_size_and_a_moved_root_not(root: Path) -> None:
    before = FolderData(root)
    moved = root.rename(root.with_name("moved"))
    assert FolderData(moved).fingerprint == before.fingerprint
    (moved / "cat/b.jpg").write_bytes(b"shorter")
    after = FolderData(moved)
    assert after.fingerprint != before.fingerprint
    assert after.sample_ids.tolist() == before.sample_ids.tolist()


def test_hidden_and_other_files_are_no_images(root: Path) -> None:
    before = FolderData(root)
    (root / "cat" / "._b.jpg").write_bytes(b"companion of macOS")
    (root / "cat" / "Thumbs.db").write_bytes(b"companion of Windows")
    (root / ".cache").mkdir()
    (root / "README.txt").write_text("words")
    assert FolderData(root).fingerprint == before.fingerprint


def test_names_that_are_no_utf8_can_be_read(root: Path) -> None:
    odd = os.fsencode(root) + b"/cat/\xff\xfe.png"
    try:
        Path(os.fsdecode(odd)).write_bytes((root / "cat/a.png").read_bytes())
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    data = FolderData(root)
    assert os.fsencode(data.describe(3)) == odd
    np.testing.assert_array_equal(data.read(3), data.read(1))


@pytest.mark.parametrize("held_out", ["test", "val", "valid", "validation"])
def test_split_folders_are_the_splits(root: Path, tmp_path: Path, held_out: str) -> None:
    place = tmp_path / "splits"
    for name in ("train/a/1.png", "train/b/2.png", "train/c/3.png", f"{held_out}/c/4.png"):
        _save(place, name)
    train, test = FolderData(place), FolderData(place, split="test")
    assert train.class_names == test.class_names == ("a", "b", "c")
    assert train.labels.tolist() == [0, 1, 2]
    assert test.labels.tolist() == [2]
    assert train.fingerprint == FolderData(place / "train").fingerprint


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("train/1.png", "bus/2.png"):
        _save(tmp_path, name)
    assert FolderData(tmp_path).class_names == ("bus", "train")


def test_subset_keeps_paths_and_ids(root: Path) -> None:
    data = FolderData(root)
    subset = data.subset([4, 1])
    assert subset.describe(0) == data.describe(4)
    assert subset.sample_ids.tolist() == data.sample_ids[[4, 1]].tolist()
    np.testing.assert_array_equal(subset.read(1), data.read(1))
    assert subset.class_counts.tolist() == [0, 1, 1]


def _broken_layouts(place: Path) -> dict[str, str]:
    """Make folders that are no data sets below `place`; return name -> message."""
    _save(place, "flat/1.png")
    _save(place, "empty/a/1.png")
    (place / "empty/b").mkdir()
    _save(place, "single/a/1.png")
    _save(place, "new/train/a/1.png")
    _save(place, "new/train/b/1.png")
    _save(place, "new/test/z/1.png")
    return {
        "missing": f"data folder {place / 'missing'} does not exist or is no folder",
        "flat": f"{place / 'flat'} has no class folders; put the images at",
        "empty": f"class folder {place / 'empty/b'} has no image (.jpg",
        "single": "single must have 2 classes or more, got 1: a",
        "new": f"class folder {place / 'new/test/z'} is none of the train split's",
    }


@pytest.mark.parametrize("name", ["missing", "flat", "empty", "single", "new"])
def test_a_folder_that_is_no_data_set_is_named(tmp_path: Path, name: str) -> None:
    message = _broken_layouts(tmp_path)[name]
    with pytest.raises(DataError, match=re.escape(message)):
        FolderData(tmp_path / name, split="test" if name == "new" else "train")


def test_a_split_that_is_not_there_is_an_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder for split 'test'"):
        FolderData(root, split="test")
    _save(tmp_path / "only", "val/a/1.png")
    with pytest.raises(DataError, match="has no train folder"):
        FolderData(tmp_path / "only")
    with pytest.raises(OptionError, match="'train' or 'test', got 'all'"):
        FolderData(root, split="all")


def test_a_link_to_nowhere_is_named(root: Path) -> None:
    (root / "cat/gone.jpg").symlink_to(root / "nowhere.jpg")
    with pytest.raises(DataError, match=re.escape(f"cannot read {root}/cat/gone.jpg")):
        FolderData(root)


def test_another_number_of_classes_is_rejected(root: Path) -> None:
    assert FolderData(root, num_classes=3).num_classes == 3
    with pytest.raises(DataError, match="has 3 class folders, got num_classes = 4"):
        FolderData(root, num_classes=4)


def _table(root: Path, *lines: str, encoding: str = "utf-8") -> Path:
    (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding=encoding)
    return root


def test_labels_come_from_the_table_where_there_is_one(root: Path) -> None:
    _table(
        root, "path,label,wnid", "cat/a.png,0,tabby", "dög/日本.png,3,Dogge", "./cat/b.jpg,0,tabby"
    )
    data = FolderData(root)
    assert data.labels.tolist() == [0, 3, 0]
    assert data.class_names == ("tabby", "1", "2", "Dogge")
    assert data.describe(2) == str(root / "cat/b.jpg")
    assert FolderData(root, num_classes=10).num_classes == 10


def test_class_names_of_a_short_table_are_the_folders_or_numbers(root: Path) -> None:
    lines = ["label,path", "1,cat/a.png", "1,cat/b.jpg", "0,Ant/x.JPEG", "0,dög/日本.png"]
    _table(root, *lines, encoding="utf-8-sig")
    assert FolderData(root).class_names == ("0", "cat")


def test_rows_of_other_splits_are_left_out(tmp_path: Path) -> None:
    for name in ("train/1.png", "train/2.png", "test/3.png"):
        _save(tmp_path, name)
    _table(tmp_path, "path,label", "train/1.png,0", "test/3.png,2", "train/2.png,1")
    assert FolderData(tmp_path).labels.tolist() == [0, 1]
    test = FolderData(tmp_path, split="test")
    assert test.labels.tolist() == [2]
    assert test.num_classes == FolderData(tmp_path).num_classes == 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        pytest.param(["path,label", "cat/none.png,0"], "labels.csv line 2: cannot read", id="file"),
        pytest.param(
            ["path,label", "cat/a.png,one"], "line 2: label must be an integer", id="word"
        ),
        pytest.param(["path,label", "cat/a.png,-1"], "integer >= 0, got '-1'", id="negative"),
        pytest.param(["path,label", "cat/a.png"], "integer >= 0, got ''", id="no-label"),
        pytest.param(["path,label", "../a.png,1"], "relative to and inside", id="outside"),
        pytest.param(["path,label", "/etc/a.png,1"], "got '/etc/a.png'", id="absolute"),
        pytest.param(["file,class", "cat/a.png,1"], "path,label, got 'file,class'", id="columns"),
        pytest.param(["path,label"], "lists no images", id="empty"),
        pytest.param(
            ["path,label", "cat/a.png,1", "cat/a.png,1"], "got rows 0 and 1 with one id", id="twice"
        ),
        pytest.param(
            ["path,label", "cat/a.png,0"], "2 classes or more, got 1: cat", id="one-class"
        ),
        pytest.param(["path,label", "cat/a.png,7"], "below num_classes = 5, got 7", id="too-large"),
    ],
)
def test_a_malformed_table_is_an_error_that_names_the_line(
    root: Path, lines: list[str], message: str
) -> None:
    _table(root, *lines)
    with pytest.raises(DataError, match=re.escape(message)):
        FolderData(root, num_classes=5 if "num_classes" in message else None)


def test_a_table_beside_split_folders_it_does_not_list_is_an_error(tmp_path: Path) -> None:
    for name in ("train/a/1.png", "test/a/2.png", "n1/3.png"):
        _save(tmp_path, name)
    _table(tmp_path, "path,label", "n1/3.png,1")
    with pytest.raises(DataError, match=re.escape("lists nothing below train/, though")):
        FolderData(tmp_path)


def test_a_table_that_is_no_text_is_an_error(root: Path) -> None:
    (root / "labels.csv").write_bytes(b"path,label\ncat/\xff.png,1\n")
    with pytest.raises(DataError, match=re.escape("save it as UTF-8 text")):
        FolderData(root)


def test_the_copy_in_memory_has_the_ids_of_the_folder(root: Path) -> None:
    data = FolderData(root).subset([3, 0, 2, 1])
    arrays = data.load()
    assert arrays.fingerprint == data.fingerprint
    assert arrays.sample_ids.tolist() == data.sample_ids.tolist()
    assert arrays.labels.tolist() == data.labels.tolist()
    assert arrays.describe(0) == f"{root.name}/dög/sub/y.bmp"
    for row in range(4):
        np.testing.assert_array_equal(arrays.read(row), data.read(row))


def test_images_of_two_sizes_do_not_fit_into_one_array(root: Path) -> None:
    _save(root, "cat/large.png", (20, 30))
    message = f"got (6, 8, 3) in {root}/Ant/x.JPEG and (30, 20, 3) in {root}/cat/large.png"
    with pytest.raises(DataError, match=re.escape(message)):
        to_arrays(FolderData(root))


def test_too_large_a_data_set_is_not_loaded(root: Path) -> None:
    data = FolderData(root)
    num_bytes = 5 * 6 * 8 * 3
    assert len(data.load(max_bytes=num_bytes)) == 5
    with pytest.raises(DataError, match=f"max_bytes = {num_bytes - 1} or less, got {num_bytes}"):
        data.load(max_bytes=num_bytes - 1)


def test_an_unreadable_image_stops_loading_with_its_name(root: Path) -> None:
    (root / "cat/b.jpg").write_bytes(b"text")
    data = FolderData(root)
    with pytest.raises(ImageReadError, match=re.escape(str(root / "cat/b.jpg"))):
        data.load()
    with pytest.raises(OptionError, match="threads must be 1 or more, got 0"):
        data.load(threads=0)


def test_deep_ids_change_with_any_byte_and_shallow_ones_with_the_size(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        Image.new("RGB", (4, 4), (200, 10, 10)).save(tmp_path / label / "0.bmp")
    shallow, deep = FolderData(tmp_path), FolderData(tmp_path).deepened()
    assert (shallow.deep, deep.deep, deep.load().deep) == (False, True, True)
    np.testing.assert_array_equal(shallow.sample_ids, deep.sample_ids)
    path = tmp_path / "b" / "0.bmp"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    again = FolderData(tmp_path)
    np.testing.assert_array_equal(again.content_ids, shallow.content_ids)
    assert again.fingerprint == shallow.fingerprint
    assert (again.deepened().content_ids != deep.content_ids).tolist() == [False, True]
    assert again.deepened().fingerprint != deep.fingerprint


def test_deep_reading_names_a_file_that_is_gone(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / label / "0.png")
    data = FolderData(tmp_path)
    (tmp_path / "a" / "0.png").unlink()
    with pytest.raises(ImageReadError, match=r"a/0\.png"):
        data.deepened()
