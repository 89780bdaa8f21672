"""Mistakes about many runs: sweeping over seeds, and comparing what came out."""

from __future__ import annotations

from tests.cli.errors.provoke import TABLE, Mistake

REPORT = "report {run} --out {tmp}/report --recipes {tmp}"
SWEEP = "sweep {run}/recipe.toml --runs {tmp}/runs"
FIGURES = "paper/figures.toml"

COMPARISON_MISTAKES = (
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
)
