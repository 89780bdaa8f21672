"""Mistakes about the images: data sets that are not there, or are not what they should be."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.cli.errors.provoke import REFRESH, Mistake, each

if TYPE_CHECKING:
    from tests.cli.errors.provoke import Place

NEW = f"{REFRESH} --cache {{tmp}}/new.zarr"
OWN = f"{NEW} --data {{tmp}}/data"


def _class_folders(place: Place, *names: str) -> None:
    for name in names:
        target = place.tmp / "data" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(place.data / "ant", target)


def _table(place: Place, text: str | bytes) -> None:
    place.own_data()
    place.write("data/labels.csv", text)


DATA_MISTAKES = (
    Mistake(
        "name-misspelt",
        f"{NEW} --data shape",
        "data must be one of shapes, cifar10",
        "did you mean shapes?",
        "loaders/named_data.py::_folder#2",
    ),
    Mistake(
        "imagenet-without-root",
        f"{NEW} --data imagenet",
        "imagenet needs the folder that holds its train and val",
        "give a root",
        "loaders/named_data.py::_folder",
    ),
    Mistake(
        "root-beside-a-folder",
        f"{NEW} --data {{data}} --root {{tmp}}",
        "root is for data given by name, got root",
        "leave it out",
        "loaders/named_data.py::_folder#3",
    ),
    Mistake(
        "cifar-not-there",
        f"{NEW} --data cifar10 --root {{tmp}}",
        "cifar10 is not in",
        "--download",
        "loaders/named_data.py::_open_cifar",
    ),
    Mistake(
        "imbalance-empties-a-class",
        f"{NEW} --data {{data}} --imbalance 100",
        "imbalance 100 leaves class",
        "use 6 (its largest class) or less",
        "loaders/named_data.py::_long_tail",
    ),
    Mistake(
        "imbalance-of-shapes",
        f"{NEW} --data shapes --imbalance 1e6",
        "imbalance of shapes must be",
        "or less, got 1e+06",
        "loaders/shapes.py::open_shapes#2",
    ),
    Mistake(
        "subset-seed",
        f"{NEW} --data shapes --subset-seed 4294967296",
        "subset_seed must be in [0, 2**32), got 4294967296",
        "in [0, 2**32)",
        "loaders/long_tail.py::long_tail_rows",
    ),
    Mistake(
        "classes-of-shapes",
        f"{NEW} --data shapes --classes 1000",
        "num_classes of shapes must be 2 to",
        "got 1000",
        "loaders/shapes.py::_class_names",
    ),
    Mistake(
        "root-not-there",
        f"{NEW} --data imagenet --root {{tmp}}/none",
        "does not exist or is no folder",
        "check the path",
        "loaders/folder_index.py::find_split#2",
    ),
    Mistake(
        "no-train-folder",
        OWN,
        "has no train folder, got val",
        "add it or pass a root",
        "loaders/folder_index.py::find_split#3",
        prepare=lambda place: _class_folders(place, "val/ant", "val/bee"),
    ),
    Mistake(
        "no-test-folder",
        f"{OWN} --split test",
        "has no folder for split 'test', which is called",
        "add one",
        "loaders/folder_index.py::find_split#4",
        prepare=lambda place: _class_folders(place, "train/ant", "train/bee"),
    ),
    Mistake(
        "no-class-folders",
        OWN,
        "has no class folders",
        "put the images at",
        "loaders/folder_index.py::index_class_folders",
        prepare=lambda place: place.write("data/README", "nothing"),
    ),
    Mistake(
        "test-class-unknown",
        f"{OWN} --split test",
        "is none of the train split's",
        "which are ant, bee: rename or remove it",
        "loaders/folder_index.py::index_class_folders#2",
        prepare=lambda place: _class_folders(place, "train/ant", "train/bee", "val/ant", "val/dog"),
    ),
    Mistake(
        "empty-class",
        OWN,
        "has no image",
        "add some or remove the folder",
        "loaders/folder_index.py::_list_class_folder",
        prepare=lambda place: (place.own_data() / "dog").mkdir(),
    ),
    Mistake(
        "dangling-link",
        OWN,
        "cannot read",
        "check the link or its rights",
        "loaders/folder_index.py::_unreadable",
        prepare=lambda place: (place.own_data() / "bee" / "9.jpg").symlink_to("nowhere.jpg"),
    ),
    Mistake(
        "one-class",
        OWN,
        "must have 2 classes or more, got 1: ant",
        "add images of another class",
        "loaders/image_data.py::ImageData._check#2",
        prepare=lambda place: _class_folders(place, "ant"),
    ),
    Mistake(
        "number-of-classes",
        f"{NEW} --data {{data}} --classes 5",
        "has 3 class folders, got num_classes = 5",
        "leave the number out",
        "loaders/folder_data.py::_open_index",
    ),
    Mistake(
        "image-is-junk",
        OWN,
        "bee/2.jpg",
        "replace or remove this file",
        "loaders/decode.py::_unreadable pipeline/refresh/job.py::compute_blocks",
        prepare=lambda place: (place.own_data() / "bee" / "2.jpg").write_bytes(b"\xff\xd8\xff no"),
    ),
    Mistake(
        "table-without-header",
        OWN,
        "labels.csv must have the columns path,label, got 'ant/0.jpg,0'",
        "columns path,label",
        "loaders/labels_csv.py::_read_table",
        prepare=lambda place: _table(place, "ant/0.jpg,0\n"),
    ),
    Mistake(
        "table-not-utf8",
        OWN,
        "cannot read",
        "save it as UTF-8 text",
        "loaders/labels_csv.py::_read_table#2",
        prepare=lambda place: _table(place, b"path,label\nant/\xff.jpg,0\n"),
    ),
    Mistake(
        "table-label-no-number",
        OWN,
        "label must be an integer >= 0, got 'ant'",
        "line 2",
        "loaders/labels_csv.py::_parse",
        prepare=lambda place: _table(place, "path,label\nant/0.jpg,ant\n"),
    ),
    Mistake(
        "table-path-outside",
        OWN,
        "path must be relative to and inside the folder, got '../x.jpg'",
        "line 2",
        "loaders/labels_csv.py::_parse#2",
        prepare=lambda place: _table(place, "path,label\n../x.jpg,0\n"),
    ),
    Mistake(
        "table-names-no-file",
        OWN,
        "labels.csv line 3: cannot read",
        "add the file or remove the line",
        "loaders/labels_csv.py::_size",
        prepare=lambda place: _table(place, "path,label\nant/0.jpg,0\nbee/77.jpg,1\n"),
    ),
    Mistake(
        "table-empty",
        OWN,
        "lists no images",
        "add rows under its header path,label",
        "loaders/labels_csv.py::index_labels_csv",
        prepare=lambda place: _table(place, "path,label\n"),
    ),
    Mistake(
        "table-label-too-large",
        f"{OWN} --classes 2",
        "must be below num_classes = 2, got 7 in line 3",
        "mend the line, or leave the number out",
        "loaders/labels_csv.py::index_labels_csv#2",
        prepare=lambda place: _table(place, "path,label\nant/0.jpg,0\nbee/0.jpg,7\n"),
    ),
    Mistake(
        "table-beside-splits",
        f"{OWN} --split test",
        "lists nothing below val/, though",
        "for its class folders, or move the table away",
        "loaders/labels_csv.py::index_labels_csv#3",
        prepare=each(
            lambda place: _class_folders(place, "train/ant", "train/bee", "val/ant", "val/bee"),
            lambda place: place.write(
                "data/labels.csv", "path,label\ntrain/ant/0.jpg,0\ntrain/bee/0.jpg,1\n"
            ),
        ),
    ),
    Mistake(
        "table-lists-a-sample-twice",
        OWN,
        "must differ in path or label, got rows 0 and 1",
        "remove or rename one of them",
        "loaders/image_data.py::ImageData._check_unique",
        prepare=lambda place: _table(place, "path,label\nant/0.jpg,0\nant/0.jpg,0\nbee/0.jpg,1\n"),
    ),
)
