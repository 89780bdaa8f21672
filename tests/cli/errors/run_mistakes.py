"""Mistakes about runs that are there: measuring, comparing, sweeping, watching, drawing them."""

from __future__ import annotations

import errno
import tempfile
from typing import TYPE_CHECKING

from cache_store.store import SaliencyStore
from tests.cli.errors.provoke import TABLE, Mistake, each

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.errors.provoke import Place

EVALUATE = "evaluate --network resnet8 --weights random --data shapes"
REPORT = "report {run} --out {tmp}/report --recipes {tmp}"
SWEEP = "sweep {run}/recipe.toml --runs {tmp}/runs"
PREVIEW = "preview --data {data} --cache {cache}"
BATCH = "preview --loader {run}/recipe.toml --cache {cache}"
LOOP = "watch {tmp} --network resnet8 --data {data} --cache {tmp}/new.zarr"
FIGURES = "paper/figures.toml"


def _opening_raises(error: Exception) -> Callable[[Place], None]:
    """Let whatever opens a cache fail in a way that no message was written for."""

    def opened(*_: object, **__: object) -> None:
        raise error

    def prepare(place: Place) -> None:
        place.patch.setattr(SaliencyStore, "open", opened)
        place.patch.setattr(tempfile, "tempdir", str(place.tmp))

    return prepare


RUN_MISTAKES = (
    Mistake(
        "command-misspelt",
        "refesh --data shapes",
        "has no command 'refesh'",
        "did you mean scae refresh?",
        "cli/lazy_group.py::LazyGroup.resolve_command",
        code=2,
    ),
    Mistake(
        "option-misspelt",
        "refresh --dat shapes",
        "No such option '--dat'",
        "Did you mean one of: '--data'",
        "",
        code=2,
    ),
    Mistake(
        "option-missing",
        "refresh --data shapes --cache {tmp}/new.zarr --network resnet8",
        "Missing option '--weights'",
        "--weights",
        "",
        code=2,
    ),
    Mistake(
        "option-out-of-range",
        "bench loader --rounds 1",
        "Invalid value for '--rounds': 1 is not in the range x>=3",
        "x>=3",
        "",
        code=2,
    ),
    Mistake(
        "choice-misspelt",
        "train --device gpu --run {tmp}/new",
        "Invalid value for '--device': 'gpu' is not one of 'auto', 'cpu', 'cuda'",
        "one of 'auto', 'cpu', 'cuda'",
        "",
        code=2,
    ),
    Mistake(
        "two-schedulers",
        "doctor --scheduler tcp://x:1 --scheduler-file {tmp}/scheduler.json",
        "only one of --scheduler and --scheduler-file can be given",
        "only one of",
        "cli/cluster_options.py::require_scheduler",
        code=2,
    ),
    Mistake(
        "disk-full",
        "cache info {cache}",
        "No space left on device: maps.zarr",
        "make room there, and run the same command again",
        "",
        prepare=_opening_raises(OSError(errno.ENOSPC, "No space left on device", "maps.zarr")),
    ),
    Mistake(
        "part-of-installation-missing",
        "cache info {cache}",
        "a part of the installation can't be imported (no zstd)",
        "see scae doctor, and install scae anew",
        "",
        prepare=_opening_raises(ImportError("no zstd")),
    ),
    Mistake(
        "bug",
        "cache info {cache}",
        "unexpected ZeroDivisionError: by nought; this is a bug in scae",
        "or see the traceback by --verbose",
        "",
        code=70,
        prepare=_opening_raises(ZeroDivisionError("by nought")),
    ),
    Mistake(
        "quiet-and-verbose",
        "cache info {cache} --quiet --verbose",
        "only one of --quiet and --verbose can be given",
        "only one of",
        "cli/verbosity.py::_chosen.note",
        code=2,
    ),
    Mistake(
        "checkpoint-not-there",
        "evaluate {run} --checkpoint {tmp}/none.pt",
        "no checkpoint at",
        "name a file in a run's checkpoints/",
        "pipeline/training/tested_network.py::tested_run",
    ),
    Mistake(
        "no-run",
        "evaluate {tmp}/none",
        "no run in",
        "name a folder of `scae train`, or a network with --network, --weights and --data",
        "pipeline/training/tested_network.py::tested_run#2",
    ),
    Mistake(
        "crop-larger-than-the-image",
        "evaluate {run} --data {data} --resize 16 --center-crop 20",
        "the centre crop must be 1 pixel or more and at most the resized shorter side",
        "got a crop of 20 from 16",
        "loaders/cropped_data.py::CentreCropped.__init__",
    ),
    Mistake(
        "evaluate-nothing",
        "evaluate",
        "name either RUN (or its --checkpoint) or --network",
        "one of them",
        "cli/evaluate.py::_check_usage",
        code=2,
    ),
    Mistake(
        "weights-of-a-run",
        "evaluate {run} --weights random",
        "--weights has no effect without --network",
        "--network",
        "cli/evaluate.py::_check_usage#2",
        code=2,
    ),
    Mistake(
        "network-alone",
        "evaluate --network resnet8",
        "--network needs --weights and --data",
        "--weights and --data",
        "cli/evaluate.py::_check_usage#3",
        code=2,
    ),
    Mistake(
        "root-alone",
        "evaluate {run} --root {tmp}",
        "--root has no effect without --data",
        "--data",
        "cli/evaluate.py::_check_usage#4",
        code=2,
    ),
    Mistake(
        "squashed-and-cut",
        f"{EVALUATE} --size 16 --resize 20",
        "--size squashes images",
        "give --center-crop instead with --resize",
        "cli/evaluate.py::_check_usage#5",
        code=2,
    ),
    Mistake(
        "report-of-nothing",
        "report {tmp}/none --out {tmp}/report --recipes {recipes}",
        "no run or folder of runs at",
        "name folders of `scae sweep` or run folders of `scae train`",
        "pipeline/training/comparison/collect.py::_records",
    ),
    Mistake(
        "report-of-an-empty-folder",
        "report {tmp} --out {tmp}/report --recipes {recipes}",
        "holds no records and no runs",
        "name folders of `scae sweep` or run folders of `scae train`",
        "pipeline/training/comparison/collect.py::_records#2",
    ),
    Mistake(
        "report-of-unfinished-runs",
        "report {tmp}/run --out {tmp}/report --recipes {recipes}",
        "no finished run in",
        "go on with one by `scae train --resume`",
        "pipeline/training/comparison/compare.py::compare",
        prepare=lambda place: (place.own_run() / "summary.json").unlink(),
    ),
    Mistake(
        "report-of-junk",
        "report {tmp}/run.json --out {tmp}/report --recipes {recipes}",
        "is no record of a run, as `scae sweep` writes them",
        "remove it",
        "pipeline/training/run_record.py::read_record",
        prepare=lambda place: place.write("run.json", "{}"),
    ),
    Mistake(
        "record-of-the-future",
        "report {tmp}/run.json --out {tmp}/report --recipes {recipes}",
        "must be of version",
        "got 99",
        "pipeline/training/run_record.py::read_record#2",
        prepare=lambda place: place.write("run.json", '{"version": 99}'),
    ),
    Mistake(
        "figures-not-there",
        REPORT,
        "can't read the paper's figures",
        "name the recipes' folder with --recipes, or the file with --paper",
        "pipeline/training/comparison/paper.py::load_paper",
    ),
    Mistake(
        "figures-of-another-form",
        REPORT,
        "are not as expected",
        "name the recipes' folder with --recipes, or the file with --paper",
        "pipeline/training/comparison/paper.py::load_paper#2",
        prepare=lambda place: place.write(FIGURES, "x = 3\n"),
    ),
    Mistake(
        "figures-with-an-unknown-key",
        REPORT,
        "unknown key colour",
        "known keys:",
        "pipeline/training/comparison/paper.py::_check_keys",
        prepare=lambda place: place.write(FIGURES, "[[table]]\nname = 't'\ncolour = 'red'\n"),
    ),
    Mistake(
        "figures-of-no-metric",
        REPORT,
        "metrics of table t must be of",
        "got ['speed']",
        "pipeline/training/comparison/paper.py::_table",
        prepare=lambda place: place.write(FIGURES, TABLE.replace("top1", "speed")),
    ),
    Mistake(
        "figures-against-no-row",
        REPORT,
        "table t has no row 'b' to go against",
        "name one of its recipes",
        "pipeline/training/comparison/paper.py::_table#2",
        prepare=lambda place: place.write(FIGURES, TABLE.replace("against = 'a'", "against = 'b'")),
    ),
    Mistake(
        "figures-of-a-run-damaged",
        "report {tmp}/run --out {tmp}/report --recipes {recipes}",
        "can't read the figures of run",
        "go on with it by `scae train --resume`",
        "pipeline/training/run_record.py::record_of#2",
        prepare=lambda place: (place.own_run() / "summary.json").write_text("{}"),
    ),
    Mistake(
        "figures-of-a-run-no-table",
        "report {tmp}/run --out {tmp}/report --recipes {recipes}",
        "can't read the figures of run",
        "go on with it by `scae train --resume`",
        "pipeline/training/run_record.py::record_of#2",
        prepare=lambda place: (place.own_run() / "summary.json").write_text("[1]"),
    ),
    Mistake(
        "report-table",
        "report {run} --out {tmp}/report --recipes {recipes} --table none",
        "--table must be one of",
        "got 'none'",
        "pipeline/training/comparison/compare.py::_chosen",
    ),
    Mistake(
        "report-against",
        "report {run} --out {tmp}/report --recipes {recipes} --against none",
        "--against must be one of",
        "got 'none'",
        "pipeline/training/comparison/tables.py::_check_against",
    ),
    Mistake(
        "report-not-to-be-written",
        "report {run} --out {tmp}/notes.txt/report --recipes {recipes}",
        "can't write a report into",
        "name another --out",
        "pipeline/training/comparison/write.py::write_comparison",
        prepare=lambda place: place.write("notes.txt", "mine"),
    ),
    Mistake(
        "seeds-twice",
        f"{SWEEP} --seeds 1 1",
        "seeds must be there once each, got [1, 1]",
        "once each",
        "pipeline/training/sweep.py::plan_sweep",
    ),
    Mistake(
        "seed-overridden",
        f"{SWEEP} --set seed=3",
        "--set seed would do nothing",
        "a sweep's seeds are those of --seeds",
        "pipeline/training/sweep.py::plan_sweep#2",
    ),
    Mistake(
        "sweep-folder-not-to-be-made",
        "sweep {run}/recipe.toml --runs {tmp}/notes.txt/runs",
        "can't make folder",
        "name another --runs",
        "pipeline/training/sweep.py::run_sweep",
        prepare=lambda place: place.write("notes.txt", "mine"),
    ),
    Mistake(
        "loop-half-named",
        "watch {tmp} --network resnet8",
        "--network also needs --data, --cache, --epochs",
        "--epochs",
        "cli/watch.py::_check_usage",
        code=2,
    ),
    Mistake(
        "loop-options-of-a-run",
        "watch {run} --batch-size 3",
        "--batch-size: a run's recipe says that",
        "for a loop of your own add --network",
        "cli/watch.py::_check_usage#2",
        code=2,
    ),
    Mistake(
        "watching-a-run-that-never-refreshes",
        "watch {run} --until-done",
        "never refreshes in its 1 epochs",
        "nothing to watch",
        "pipeline/refresh/watch_refresh.py::check_followed",
    ),
    Mistake(
        "checkpoints-without-a-number",
        f"{LOOP} --epochs 9 --pattern weights.pt --until-done",
        "pattern of checkpoints must be a file name with {epoch} in it once",
        "such as epoch-{epoch}.pt, got 'weights.pt'",
        "pipeline/refresh/watch_checkpoints.py::CheckpointFolder.__init__",
    ),
    Mistake(
        "watching-an-adaptive-run",
        "watch {tmp}/run --until-done",
        "refresh.when must be 'interval' for a watcher, got 'adaptive'",
        "by refresh.executor = 'dask'",
        "pipeline/training/followed_run.py::followed_run",
        prepare=lambda place: _adaptive(place),
    ),
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
        "completion-unknown",
        "completion fish",
        "this version of click completes nothing in fish",
        "this version of click",
        "cli/completion.py::completion_command",
        code=2,
        prepare=lambda place: place.patch.setattr(
            "cli.completion.get_completion_class", lambda _shell: None
        ),
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
    Mistake(
        "bench-rival",
        "bench loader --without nobody",
        "without must name",
        "got nobody",
        "pipeline/bench/loader_speed.py::LoaderOptions.__post_init__#2",
    ),
    Mistake(
        "bench-refresh-rival",
        "bench refresh --without nobody",
        "without must name",
        "got nobody",
        "pipeline/bench/refresh_speed.py::SpeedOptions.__post_init__#3",
    ),
)


def _adaptive(place: Place) -> None:
    path = place.own_run() / "recipe.toml"
    path.write_text(path.read_text().replace("[refresh]", '[refresh]\nwhen = "adaptive"'))
