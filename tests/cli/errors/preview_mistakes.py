"""Mistakes about drawing maps, and batches of a loader."""

from __future__ import annotations

from tests.cli.errors.provoke import Mistake, each

PREVIEW = "preview --data {data} --cache {cache}"
BATCH = "preview --loader {run}/recipe.toml --cache {cache}"

PREVIEW_MISTAKES = (
    Mistake(
        "preview-row",
        f"{PREVIEW} --rows 99 --out {{tmp}}/out.png",
        "must be in [0, 18), got 99",
        "name other --rows",
        "pipeline/pictures/preview_choice.py::chosen_rows",
    ),
    Mistake(
        "preview-many",
        f"{PREVIEW} --num 1000 --out {{tmp}}/out.png",
        "of a preview must be in [1,",
        "got",
        "pipeline/pictures/preview.py::PreviewOptions.__post_init__#2",
    ),
    Mistake(
        "preview-lambda",
        f"{PREVIEW} --lambda nan --out {{tmp}}/out.png",
        "lambda of a preview must be 1 to",
        "finite numbers, got [nan]",
        "pipeline/pictures/preview.py::PreviewOptions.__post_init__#4",
    ),
    Mistake(
        "preview-boxes",
        f"{PREVIEW} --boxes 1000 --out {{tmp}}/out.png",
        "boxes of a preview must be in [0, 100], got 1000",
        "in [0, 100]",
        "pipeline/pictures/preview.py::PreviewOptions.__post_init__#5",
    ),
    Mistake(
        "preview-ending",
        f"{PREVIEW} --out {{tmp}}/out.jpg",
        "out of a preview must end in .png or .html, got",
        "write out.png",
        "pipeline/pictures/picture_file.py::checked_picture_path",
    ),
    Mistake(
        "preview-into-no-folder",
        f"{PREVIEW} --out {{tmp}}/none/out.png",
        "out of a preview must lie in a folder that is there",
        "first",
        "pipeline/pictures/picture_file.py::checked_picture_path#2",
    ),
    Mistake(
        "preview-onto-a-folder",
        f"{PREVIEW} --out {{tmp}}/out.png",
        "out of a preview must be a file, got the folder",
        "add a name",
        "pipeline/pictures/picture_file.py::checked_picture_path#3",
        prepare=lambda place: (place.tmp / "out.png").mkdir(),
    ),
    Mistake(
        "preview-class",
        f"{PREVIEW} --class bea --out {{tmp}}/out.png",
        "class of a preview of photos must be a name or a number in [0, 3), got 'bea'",
        "did you mean bee?",
        "pipeline/pictures/preview_choice.py::_label",
    ),
    Mistake(
        "preview-empty-class",
        "preview --data {tmp}/data --cache {cache} --class 1 --out {tmp}/out.png",
        "has no image here",
        "name another",
        "pipeline/pictures/preview_choice.py::chosen_rows#2",
        prepare=each(
            lambda place: place.own_data(),
            lambda place: place.write("data/labels.csv", "path,label\nant/0.jpg,0\ncat/0.jpg,2\n"),
        ),
    ),
    Mistake(
        "preview-rows-and-classes",
        f"{PREVIEW} --rows 1 --class ant --out {{tmp}}/out.png",
        "a preview shows rows and ids, or samples of classes, got 1",
        "leave one out",
        "pipeline/pictures/preview.py::PreviewOptions.__post_init__",
    ),
    Mistake(
        "preview-of-many-generations",
        f"{PREVIEW} --out {{tmp}}/out.png {5 * '--generation 1 '}",
        "generations of a preview must be 4 at most, got 5",
        "4 at most",
        "pipeline/pictures/preview.py::PreviewOptions.__post_init__#3",
    ),
    Mistake(
        "preview-id",
        f"{PREVIEW} --id 0000000000000000 --out {{tmp}}/out.png",
        "has the id 0000000000000000",
        "'scae cache diff' and 'scae preview' print ids",
        "pipeline/pictures/preview_choice.py::_row_of",
    ),
    Mistake(
        "preview-id-words",
        f"{PREVIEW} --id xyz --out {{tmp}}/out.png",
        "must be 16 hexadecimal digits, got 'xyz'",
        "16 hexadecimal digits",
        "cli/preview.py::hex_ids",
        code=2,
    ),
    Mistake(
        "loader-preview-with-data",
        f"{BATCH} --data {{data}} --out {{tmp}}/out.png",
        "--loader shows what its recipe loads",
        "leave --data",
        "cli/preview.py::_loader_preview",
        code=2,
    ),
    Mistake(
        "loader-preview-twice",
        f"{BATCH} --generation 1 --generation 1 --out {{tmp}}/out.png",
        "--loader shows a batch once",
        "give one --generation at most",
        "cli/preview.py::_loader_preview#2",
        code=2,
    ),
    Mistake(
        "loader-preview-many",
        f"{BATCH} --num 1000 --out {{tmp}}/out.png",
        "num of a loader's preview must be in [1,",
        "got 1000",
        "pipeline/training/loader_preview.py::LoaderPreviewOptions.__post_init__",
    ),
    Mistake(
        "loader-preview-step",
        f"{BATCH} --step 99 --out {{tmp}}/out.png",
        "step of a loader's preview must be in [0,",
        "got 99",
        "pipeline/training/loader_preview.py::write_loader_preview",
    ),
    Mistake(
        "preview-words",
        f"{PREVIEW} --rows one --out {{tmp}}/out.png",
        "must be whole numbers with commas between them, got 'one'",
        "commas between them",
        "cli/preview.py::whole_numbers",
        code=2,
    ),
    Mistake(
        "preview-lambda-words",
        f"{PREVIEW} --lambda one --out {{tmp}}/out.png",
        "must be numbers with commas between them, got 'one'",
        "commas between them",
        "cli/preview.py::numbers",
        code=2,
    ),
    Mistake(
        "preview-of-nothing",
        "preview --cache {cache} --out {tmp}/out.png",
        "give --data, or --loader",
        "--loader and then --epoch and --step too",
        "cli/preview.py::preview_command",
        code=2,
    ),
)
