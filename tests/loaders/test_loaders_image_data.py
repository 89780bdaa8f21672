import copy
import hashlib
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loaders.errors import DataError
from loaders.identity import PathTable
from loaders.image_data import ArrayData
from loaders.shared_array import LEND_AT_BYTES


def _data(num_images: int = 6, **changes: object) -> ArrayData:
    images = np.random.default_rng(0).integers(0, 256, (num_images, 4, 5, 3), np.uint8)
    fields: dict[str, Any] = {"images": images, "labels": np.arange(num_images) % 3}
    fields |= {"class_names": ["ant", "bee", "cat"], **changes}
    return ArrayData(**fields)


def test_sample_ids_are_the_hash_of_index_and_label() -> None:
    expected = [
        int.from_bytes(hashlib.blake2b(f"{i}\0{i % 3}".encode()).digest()[:8], "little")
        for i in range(6)
    ]
    assert _data().sample_ids.tolist() == expected


def test_content_ids_are_the_hash_of_the_pixels() -> None:
    data = _data()
    digest = hashlib.blake2b(data.images[4].tobytes(), digest_size=8).digest()
    assert data.content_ids[4] == int.from_bytes(digest, "little")


def test_fingerprint_is_the_hash_of_its_written_definition() -> None:
    data = _data()
    digest = hashlib.sha256(b"scae data 1\0")
    for name in (b"ant", b"bee", b"cat"):
        digest.update(len(name).to_bytes(8, "little") + name)
    digest.update(b"\0")
    for sample, content in sorted(zip(data.sample_ids, data.content_ids, strict=True)):
        digest.update(int(sample).to_bytes(8, "little") + int(content).to_bytes(8, "little"))
    assert data.fingerprint == digest.hexdigest()


def test_fingerprint_ignores_the_order_of_rows() -> None:
    data = _data()
    assert data.subset([3, 1, 5, 0, 2, 4]).fingerprint == data.fingerprint


def test_fingerprint_sees_a_changed_pixel_label_class_name_or_missing_row() -> None:
    data = _data()
    images = data.images.copy()
    images[2, 1, 1, 1] ^= 1
    others = [
        _data(images=images),
        _data(labels=[0, 1, 2, 0, 1, 1]),
        _data(class_names=["ant", "bee", "cow"]),
        data.subset(range(5)),
    ]
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_subset_keeps_ids_counts_and_descriptions() -> None:
    masks = np.zeros((6, 4, 5), np.bool_)
    masks[4, 1] = True
    data = _data(masks=masks)
    assert data.class_counts.tolist() == [2, 2, 2]
    subset = data.subset([4, 1, 0])
    assert len(subset) == 3
    assert subset.labels.tolist() == [1, 1, 0]
    assert subset.class_counts.tolist() == [1, 2, 0]
    assert subset.sample_ids.tolist() == data.sample_ids[[4, 1, 0]].tolist()
    assert subset.describe(0) == "array[4]"
    np.testing.assert_array_equal(subset.read(0), data.images[4])
    assert subset.masks is not None
    np.testing.assert_array_equal(subset.masks[0], masks[4])
    assert subset.subset([0]).describe(0) == "array[4]"


def test_reading_gives_a_writable_copy_and_the_data_stay_read_only() -> None:
    data = _data()
    image_HWC = data.read(0)
    image_HWC[:] = 0
    assert data.images[0].any()
    with pytest.raises(ValueError, match="read-only"):
        data.images[0] = 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"labels": [0, 1, 2, 3, 0, 1]}, "must be in [0, 3), got 0 to 3", id="label"),
        pytest.param({"labels": [0, 1, 2, -1, 0, 1]}, "must be in [0, 3), got -1 to 2", id="minus"),
        pytest.param({"labels": [0, 1]}, "labels of array must be (6,), got (2,)", id="few-labels"),
        pytest.param({"origins": [0]}, "origins of array must be (6,), got (1,)", id="few-origins"),
        pytest.param(
            {"images": np.zeros((6, 4, 5), np.uint8)},
            "must be (N, H, W, 3) uint8, got (6, 4, 5) uint8",
            id="grey",
        ),
        pytest.param(
            {"masks": np.zeros((6, 4, 4), np.bool_)},
            "masks of array must be (6, 4, 5) bool, got (6, 4, 4) bool",
            id="mask",
        ),
        pytest.param(
            {"class_names": ["ant"], "labels": [0] * 6}, "2 classes or more, got 1: ant", id="class"
        ),
        pytest.param({"content_ids": np.zeros(2, np.uint64)}, "must be (6,) uint64", id="ids"),
        pytest.param(
            {"origins": [0, 1, 2, 0, 4, 5]},
            "got rows 0 and 3 with one id (array[0], array[0])",
            id="twins",
        ),
    ],
)
def test_array_data_rejects_what_does_not_fit_together(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        _data(**changes)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param([0, 6], "must be in [0, 6), got 0 to 6", id="high"),
        pytest.param([-1], "must be in [0, 6), got -1 to -1", id="negative"),
        pytest.param([0.5], "1-D list of integers, got shape (1,) float64", id="float"),
        pytest.param([[0]], "1-D list of integers, got shape (1, 1) int64", id="2-D"),
        pytest.param([], "1 image or more, got (0,)", id="none"),
        pytest.param([2, 2], "got rows 0 and 1 with one id", id="twice"),
    ],
)
def test_subset_rejects_rows_it_does_not_have(rows: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        _data().subset(rows)


def test_path_table_gives_back_paths_of_any_kind() -> None:
    paths = [b"a/b.jpg", "ö/日本.png".encode(), b"", b"z\xff/x.bmp"]
    table = PathTable.of(paths)
    assert [table[row] for row in range(len(table))] == paths
    chosen = table.subset(np.array([3, 0]))
    assert [chosen[0], chosen[1]] == [paths[3], paths[0]]
    assert len(PathTable.of([])) == 0


@pytest.mark.parametrize("way", ["copy", "pickle"])
def test_copies_and_pickles_hold_the_same_data(way: str) -> None:
    data = _data(paths=PathTable.of([b"x%d" % i for i in range(6)]))
    other = copy.deepcopy(data) if way == "copy" else pickle.loads(pickle.dumps(data))
    assert other.fingerprint == data.fingerprint
    assert other.describe(5) == "array/x5"
    np.testing.assert_array_equal(other.images, data.images)


SCRIPT = """
import multiprocessing, sys
import numpy as np
from loaders.image_data import ArrayData

def report(data, answers):
    is_mapped = isinstance(data.images.base, np.memmap)
    answers.put((data.fingerprint, int(data.read(len(data) - 1).sum()), is_mapped))

if __name__ == "__main__":
    count = int(sys.argv[2])
    images = np.random.default_rng(0).integers(0, 256, (count, 4, 5, 3), np.uint8)
    data = ArrayData(images, np.arange(count) % 3, ["ant", "bee", "cat"])
    context = multiprocessing.get_context(sys.argv[1])
    answers = context.SimpleQueue()
    for _ in range(2):  # the second process maps the file that the first one does
        process = context.Process(target=report, args=(data, answers))
        process.start()
        process.join()
        assert process.exitcode == 0
        assert answers.get() == (data.fingerprint, int(images[-1].sum()), sys.argv[3] == "mapped")
    assert len(data.__dict__["_lent_files"]) == (sys.argv[3] == "mapped")
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("kept", ["mapped", "copied"])
def test_started_processes_map_large_arrays_instead_of_copying(
    tmp_path: Path, method: str, kept: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    num_images = LEND_AT_BYTES // 60 + (1 if kept == "mapped" else -1)
    command = [sys.executable, "-P", str(script), method, str(num_images), kept]
    subprocess.run(command, check=True, timeout=120)
