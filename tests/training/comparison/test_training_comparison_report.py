from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from cli.main import main
from pipeline.errors import RecipeError
from pipeline.training.comparison.cells import DASH, cell_rows, column_names, table_notes
from pipeline.training.comparison.compare import compare
from pipeline.training.comparison.paper import load_paper
from pipeline.training.comparison.write import write_comparison
from pipeline.training.run_record import RunRecord, read_record
from tests.browser import check_whole, headless_chromium

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.training.comparison.outcome import Comparison

RECIPES = Path(__file__).parent.parent.parent.parent / "recipes"
FIGURES = RECIPES / "paper" / "figures.toml"
BASE, SCAE, CUTMIX = (f"table3_rho100_{name}" for name in ("baseline", "scae", "cutmix"))
SEVEN = ((BASE, 0, 0.38), (BASE, 1, 0.39), (BASE, 2, 0.37), (SCAE, 0, 0.40), (SCAE, 1, 0.42),
         (SCAE, 2, 0.40), (CUTMIX, 1, 0.41))  # fmt: skip


def _compare(*paths: Path, table: str | None = "table3_rho100", **options: object) -> Comparison:
    names = () if table is None else (table,)
    return compare(paths, recipes=RECIPES, paper=FIGURES, names=names, **options)  # type: ignore[arg-type]


def _cells(comparison: Comparison, index: int = 0) -> dict[str, dict[str, str]]:
    table = comparison.tables[index]
    heads = column_names(table)
    return {cells[0]: dict(zip(heads, cells, strict=True)) for cells in cell_rows(table)}


def _scae(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_every_row_of_the_paper_has_a_recipe_and_every_recipe_a_row() -> None:
    rows = {row.recipe for table in load_paper(FIGURES) for row in table.rows}
    shipped = {path.stem for path in RECIPES.glob("*.toml")}
    assert shipped - rows == {"cifar10_lt", "cifar10_lt_harvest"}
    assert rows <= shipped


def test_figures_of_the_headers_are_those_of_the_file() -> None:
    for table in load_paper(FIGURES):
        if not re.match(r"table[123]", table.name):
            continue
        for row in table.rows:
            head = (RECIPES / f"{row.recipe}.toml").read_text().split("\n\n", 1)[0]
            for value in row.paper.values():
                assert f"{value:.2f}" in head, row.recipe
            for value in row.published.values():
                assert f"{value:g}" in head, row.recipe


def test_rows_come_in_the_papers_order_with_all_figures(
    write_records: Callable[..., Path],
) -> None:
    cells = _cells(_compare(write_records(*SEVEN)))
    assert list(cells)[:4] == ["Baseline", "Random Erasing", "GridMask", "CutMix"]
    scae = cells["SCAE"]
    assert scae["paper"] == "43.26"
    assert scae["paper's gain"] == "+4.94"
    assert scae["ours: top-1"] == "40.67 ± 1.15"
    assert scae["difference, 95 %"] == "+2.67 [+1.23, +4.10]"
    assert scae["best epoch"] == "41.67 ± 1.15"
    assert scae["few"] == DASH
    assert scae["seeds"] == "0, 1, 2"
    assert scae["time"] == "2.0 min (x1.00)"
    assert cells["Baseline"]["published"] == "38.32"
    assert cells["Baseline"]["difference, 95 %"] == DASH
    assert cells["CutMix"]["ours: top-1"] == "41.00"
    assert cells["CutMix"]["difference, 95 %"] == "+2.00"
    assert cells["GridMask"]["seeds"] == "none"


def test_another_row_can_be_compared_with(write_records: Callable[..., Path]) -> None:
    cells = _cells(_compare(write_records(*SEVEN), against="SCAE"))
    assert cells["Baseline"]["difference, 95 %"].startswith("-2.67 [")
    assert cells["SCAE"]["difference, 95 %"] == DASH
    with pytest.raises(RecipeError, match=r"--against must be one of .*, got 'Mixture'"):
        _compare(write_records(*SEVEN), against="Mixture")


def test_missing_rows_and_seeds_come_with_commands_that_are_accepted(
    write_records: Callable[..., Path],
) -> None:
    folder = write_records(*SEVEN)
    missing = {item.what.rpartition(": ")[2]: item.command for item in _compare(folder).missing}
    assert len(missing) == 6
    command = missing["CutMix, seed 0, 2"]
    assert command == f"scae sweep {RECIPES}/{CUTMIX}.toml --seeds 0 2 --runs {folder}"
    assert missing["GridMask, seed 0, 1, 2"].endswith(f"--seeds 0 1 2 --runs {folder}")
    result = _scae(*command.split()[1:], "--dry-run")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        f"new   {CUTMIX}, seed {seed}  {folder}/{CUTMIX}-seed{seed}" for seed in (0, 2)
    ]


def test_tables_without_runs_are_named_with_one_command(
    write_records: Callable[..., Path],
) -> None:
    found = _compare(write_records(*SEVEN), table=None)
    assert {item.what.partition(":")[0] for item in found.untouched} >= {"Table 1", "Table 2"}
    assert all("--seeds 0 1 2" in item.command for item in found.untouched)


def test_runs_with_other_settings_get_a_table_of_their_own(
    tmp_path: Path, write_records: Callable[..., Path], make_record: Callable[..., RunRecord]
) -> None:
    folder = write_records(*SEVEN)
    make_record(SCAE, 0, 0.2, "train.epochs=3", "data.root=/images").write(folder / "short.json")
    make_record(SCAE, 0, 0.1, debug=True).write(folder / "debug.json")
    found = _compare(folder)
    assert [table.variant.describe() for table in found.tables] == [
        "", "train.epochs = 3", "debug form",
    ]  # fmt: skip
    assert _cells(found)["SCAE"]["ours: top-1"] == "40.67 ± 1.15"
    short = next(item.command for item in found.missing if "train.epochs=3" in item.command)
    assert short.endswith("--set train.epochs=3 --set data.root=/images")
    assert any("--debug" in item.command for item in found.missing)
    notes = [" ".join(table_notes(table)) for table in found.tables]
    assert ["are for other settings" in note for note in notes] == [False, True, True]
    assert ["means nothing" in note for note in notes] == [False, False, True]


def test_runs_of_scae_train_are_known_by_their_title(
    tmp_path: Path, make_record: Callable[..., RunRecord]
) -> None:
    make_record(SCAE, 0, 0.4, sweep=False).write(tmp_path / "some.json")
    make_record("cifar10_lt", 0, 0.7).write(tmp_path / "mine.json")
    found = _compare(tmp_path, table=None)
    assert _cells(found)["SCAE"]["seeds"] == "0"
    others = _cells(found, -1)
    assert others["SCAE on CIFAR-10-LT, ResNet-32"]["ours: top-1"] == "70.00"


def test_one_run_found_twice_counts_once_and_contradictions_are_told(
    write_records: Callable[..., Path],
) -> None:
    first = write_records((BASE, 0, 0.38), (BASE, 1, 0.39))
    second = write_records((BASE, 0, 0.38), (BASE, 1, 0.35), folder="again")
    found = _compare(first, second)
    assert _cells(found)["Baseline"]["ours: top-1"] == "38.50 ± 0.71"
    (warning,) = found.warnings
    assert "one run (seed 1 of" in warning
    assert "with different figures" in warning


class _Page(HTMLParser):
    """Collects what a page shows and loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.classes: list[str] = []
        self.ids: list[str] = []
        self.cells = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.cells += tag == "td"
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self.classes += [f"{tag} {value}" for name, value in attrs if name == "class"]
        self.ids += [value or "" for name, value in attrs if name == "id"]


def test_the_command_writes_three_files_that_agree(
    tmp_path: Path, write_records: Callable[..., Path]
) -> None:
    out = tmp_path / "out"
    result = _scae(
        "report", write_records(*SEVEN), "--out", out, "--recipes", RECIPES,
        "--table", "table3_rho100", "--seeds", 0, 1, 2, 3,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "missing: Table 3: CIFAR-100-LT, rho = 100, ResNet-32: SCAE, seed 3" in result.output
    assert sorted(path.name for path in out.iterdir()) == ["report.csv", "report.html", "report.md"]
    markdown = (out / "report.md").read_text()
    assert f"| SCAE | 43.26 | +4.94 | {DASH} | 40.67 ± 1.15 | +2.67 [+1.23, +4.10] |" in markdown
    with (out / "report.csv").open() as file:
        rows = {(row["recipe"], row["metric"]): row for row in csv.DictReader(file)}
    assert float(rows[SCAE, "top1"]["difference"]) == pytest.approx(8 / 3)
    assert rows[SCAE, "top1"]["count"] == "3"
    assert rows[CUTMIX, "top1"]["low"] == ""
    page = _Page((out / "report.html").read_text())
    assert page.cells == 8 * 12  # nothing is known of few classes: no column
    links = [address[1:] for address in page.addresses if address.startswith("#")]
    assert links == page.ids
    assert len(links) == 3
    charts = [address for address in page.addresses if not address.startswith("#")]
    assert len(charts) == 2
    assert all(address.startswith("data:image/svg+xml;base64,") for address in charts)
    # Three methods of eight have runs; SCAE is the best, and its gain is beyond chance.
    assert page.classes.count("tr none") == 5
    assert page.classes.count("td chosen") == page.classes.count("td up") == 1
    assert "td down" not in page.classes


def test_the_page_is_whole_on_a_phone_and_on_a_wide_screen(
    tmp_path: Path, write_records: Callable[..., Path], make_record: Callable[..., RunRecord]
) -> None:
    folder = write_records(*SEVEN)
    odd = replace(make_record("cifar10_lt", 0, 0.7), name="$x_1^$ <b> " + 60 * "long ")
    odd.write(folder / "odd.json")
    write_comparison(_compare(folder, table=None), tmp_path / "out")
    path = tmp_path / "out" / "report.html"
    num_pictures = path.read_text().count("<img ")
    with headless_chromium() as browser:
        for width in (1280, 390):
            assert check_whole(browser, path, width) == num_pictures >= 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is no record of a run"),
        ("{", "is no record of a run"),
        ('{"version": 9}', "must be of version 1, got 9"),
        ('{"version": 1, "name": "x"}', "is no record of a run"),
    ],
)
def test_files_that_are_no_records_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "some.json"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message) as refusal:
        read_record(path)
    assert str(path) in str(refusal.value)


def test_wrong_paths_tables_and_figures_end_in_one_line(
    tmp_path: Path, write_records: Callable[..., Path]
) -> None:
    folder, empty = write_records((BASE, 0, 0.3)), tmp_path / "empty"
    empty.mkdir()
    recipes = ("--recipes", RECIPES)
    for words, message in (
        ((tmp_path / "none", *recipes), "no run or folder of runs at"),
        ((empty, *recipes), "holds no records and no runs"),
        ((folder, *recipes, "--table", "table9"), "--table must be one of table1, table2,"),
        ((folder, "--recipes", empty), "can't read the paper's figures"),
    ):
        result = _scae("report", *words, "--out", tmp_path / "out")
        assert result.exit_code == 1, result.output
        assert message in result.stderr
        assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_runs_of_own_recipes_are_compared_with_each_other_without_the_papers(
    tmp_path: Path, write_records: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_records((BASE, 0, 0.3), (BASE, 1, 0.32), (SCAE, 0, 0.4), (SCAE, 1, 0.44))
    monkeypatch.chdir(tmp_path)
    result = _scae("report", folder, "--out", "out", "--against", SCAE)
    assert result.exit_code == 0, result.output
    assert "no figures of the paper at recipes/paper/figures.toml" in result.stderr
    rows = csv.DictReader((tmp_path / "out" / "report.csv").read_text().splitlines())
    (row,) = [row for row in rows if (row["recipe"], row["metric"]) == (BASE, "top1")]
    assert row["against"] == SCAE
    assert float(row["mean"]) == pytest.approx(31)
    assert float(row["difference"]) == pytest.approx(-11)
    for words, message in (
        (("--table", "table1"), "--table must be left out without any table, got 'table1'"),
        (("--against", "cutmix"), f"--against must be one of {BASE}, {SCAE}, or a row's label"),
    ):
        refused = _scae("report", folder, "--out", "other", *words)
        assert refused.exit_code == 1
        assert message in refused.stderr


def test_records_are_small_enough_to_be_committed(write_records: Callable[..., Path]) -> None:
    path = write_records((SCAE, 0, 0.4)) / f"{SCAE}-seed0.json"
    assert path.stat().st_size < 5000
    assert read_record(path).settings["seed"] == 0
    assert json.loads(path.read_text())["versions"] == {"scae": "0.1.0"}
