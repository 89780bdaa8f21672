"""The report is one whole HTML file that shows what happened in the run."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from cache_store.store import SaliencyStore
from loaders.centres import sample_centres
from loaders.erasing import centred_boxes, sample_sides
from loaders.image_data import ArrayData
from loaders.policy import ScaePolicy
from loaders.randomness import KeyedStream
from pipeline.training.report import write_report
from pipeline.training.report_samples import NUM_BOXES
from pipeline.training.report_worst import lowest
from tests.browser import check_whole, headless_chromium
from tests.html_page import ParsedPage
from tests.training.run_figures import EPOCHS, SEED, SIZE, full_summary, metrics_row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cache_store.writer import GenerationPlan

COUNTS = (30, 12, 3)
NAMES = ("ant & <bee>", "$x_1^", "\u72ac")
SECTIONS = (
    "headline", "curves", "classes", "worst", "saliency", "time", "samples", "recipe",
)  # fmt: skip


@pytest.fixture
def data() -> ArrayData:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (sum(COUNTS), SIZE, SIZE, 3), np.uint8)
    return ArrayData(images, np.repeat((0, 1, 2), COUNTS), NAMES, name="toy")


@pytest.fixture
def maps() -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, (sum(COUNTS), 3, 4), np.uint8)


@pytest.fixture
def cache(
    tmp_path: Path,
    data: ArrayData,
    maps: NDArray[np.uint8],
    make_plan: Callable[..., GenerationPlan],
) -> Path:
    """A cache with one generation."""
    plan = make_plan(len(data), size=SIZE)
    provenance = replace(plan.provenance, fingerprint=data.fingerprint)
    plan = replace(plan, provenance=provenance)
    store = SaliencyStore.create(
        tmp_path / "maps.zarr",
        sample_ids=data.sample_ids,
        content_ids=data.content_ids,
        labels=data.labels,
        fingerprint=data.fingerprint,
        data="toy",
    )
    writer = store.begin(plan)
    for block in writer.pending():
        start, stop = writer.block_range(block)
        writer.write_block(block, maps[start:stop], np.zeros(stop - start), ())
    store.publish(writer)
    return tmp_path / "maps.zarr"


@pytest.fixture
def report(tmp_path: Path, data: ArrayData, cache: Path) -> Callable[..., ParsedPage]:
    """Write a report and read it back; keywords replace arguments."""

    def write(**changes: object) -> ParsedPage:
        arguments: dict[str, Any] = {
            "title": "Run <1> & more",
            "recipe_text": 'name = "<b>"\n[network]\nname = "net<8>"\n[augment]\nmethod = "scae"\n',
            "metrics": [metrics_row(epoch, int(epoch >= 2)) for epoch in range(EPOCHS)],
            "summary": full_summary(),
            "policy": ScaePolicy(num_epochs=EPOCHS, class_counts=COUNTS, tau=0.2),
            "data": data,
            "cache": cache,
            "size": SIZE,
            "seed": SEED,
        }
        path = tmp_path / "report.html"
        write_report(path, **(arguments | changes))
        assert not list(tmp_path.glob("*.partial"))
        text = path.read_text()
        assert "://" not in text  # nothing is fetched from anywhere
        page = ParsedPage(text)
        assert page.open == []
        assert len(set(page.ids)) == len(page.ids)
        assert set(SECTIONS) <= set(page.ids)
        assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
        assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(page.ids)
        return page

    return write


@pytest.fixture(scope="module")
def written() -> list[ParsedPage]:
    """What `full_page` has written: its bytes depend on the run alone."""
    return []


@pytest.fixture
def full_page(report: Callable[..., ParsedPage], written: list[ParsedPage]) -> ParsedPage:
    """The report of a run that has everything, written once."""
    if not written:
        written.append(report())
    return written[0]


def test_report_says_the_result_in_figures(full_page: ParsedPage) -> None:
    text = full_page.text
    for words in (
        "Run <1> & more", "45 training images of 3 classes (30 to 3 each)", "12,345 parameters",
        "16 by 16 pixels · net<8> · scae",
        "51.2 %", "43.8 %", "6.2 %", "25.0 %", "12.5 %", "1 h 6 min", "8.1 %", "2.0 %", "3.0 %",
        "1,234", "0.12 %", "6.4 %", "R = 4", "every 4 epochs; this run", "7.1 %", "R = 10", "2.9 %",
        "new maps each epoch", "28.1 %", "The paper says about 8 %",
        "abababababab", 'name = "<b>"', "ant & <bee>", "row ", "2 to 4",
    ):  # fmt: skip
        assert words in text.replace("\xa0", " ")


def test_report_says_how_far_maps_moved_and_where_it_can_not(full_page: ParsedPage) -> None:
    text = full_page.text.replace("\xa0", " ")
    assert "Total variation of the two densities of Eq. 4 at λ = 1.6" in text
    assert "0.75 12.5 % 37.5 % \u2013 \u2013 cdcdcdcdcdcd" in text
    assert text.count("not there <any> more") == 1
    assert "Grey: one of the two could not be compared" in text


def test_report_shows_the_worst_classes_under_their_maps(
    full_page: ParsedPage, data: ArrayData
) -> None:
    text = full_page.text.replace("\xa0", " ")
    worst = text[text.index("Lowest accuracy") :]
    assert worst.index("$x_1^ 25.0 % 12 training images (few)") < worst.index("ant & <bee> 50.0 %")
    assert "68.8 % of its test images are taken for \u72ac" in worst
    assert "maps of generation 1" in worst
    assert "erased with p = " in worst
    alts = [alt for alt in full_page.alts if re.match("(map of )?training image ", alt)]
    assert len(alts) == 2 * 2 * 5
    rows = {int(row) for row in re.findall(r"training image (\d+) of", " ".join(alts))}
    assert len(rows) == 10
    assert sorted(data.labels[list(rows)]) == [0] * 5 + [1] * 5


def test_worst_classes_are_those_of_the_lowest_accuracy_and_of_equal_ones_the_smaller() -> None:
    per_class = [0.0, 0.9, None, 0.0, 0.0, 0.2, 0.3, 0.4, 0.5, 0.6]
    counts = np.array([9, 8, 7, 3, 0, 6, 5, 4, 2, 1])
    assert lowest(per_class, counts).tolist() == [3, 0, 5, 6]
    assert lowest([], counts).tolist() == []
    assert lowest([0.5], counts[:1]).tolist() == [0]


def test_report_of_a_summary_of_an_older_version(report: Callable[..., ParsedPage]) -> None:
    summary = full_summary()
    for name in ("movement", "confused", "balanced", "ece", "overhead"):
        del summary[name]
    summary["generations"] = summary["generations"][:1]
    page = report(summary=summary)
    assert "abababababab" in page.text
    assert "are taken for" not in page.text
    assert "How far do the maps move?" not in page.text


def test_report_pictures_are_drawn_and_refer_to_nothing_outside(full_page: ParsedPage) -> None:
    charts = [ElementTree.fromstring(svg) for svg in full_page.files("svg+xml")]
    assert len(charts) == 10
    link = "{http://www.w3.org/1999/xlink}href"
    for chart in charts:
        assert len(list(chart.iter("{http://www.w3.org/2000/svg}path"))) > 10
        links = [element.get(link) for element in chart.iter() if element.get(link)]
        assert all(address and address.startswith("#") for address in links)
    pictures = []
    for png in full_page.files("png"):
        with Image.open(io.BytesIO(png)) as picture:
            pictures.append(np.asarray(picture))
    assert {picture.shape[:2] for picture in pictures} == {(SIZE, SIZE)}
    assert all(picture.std() > 1 for picture in pictures)


def test_report_shows_the_rectangles_that_the_loader_draws(
    full_page: ParsedPage, data: ArrayData, maps: NDArray[np.uint8]
) -> None:
    rows = [int(row) for row in re.findall(r"row (\d+), class of", full_page.text)]
    assert sorted(data.labels[rows]) == [0, 0, 1, 1, 2, 2]
    expected = []
    for row in rows:
        for epoch in range(EPOCHS):
            keys = (SEED, epoch, np.full(NUM_BOXES, row), np.arange(NUM_BOXES))
            map_hw = maps[row] if epoch >= 2 else np.zeros((3, 4), np.uint8)
            centres = sample_centres(
                np.stack([map_hw] * NUM_BOXES),
                (SIZE, SIZE),
                0.4 * epoch,
                KeyedStream(*keys, "centre"),
            )
            sides = sample_sides(NUM_BOXES, (SIZE, SIZE), KeyedStream(*keys, "sides"))
            expected += centred_boxes(centres, *sides, (SIZE, SIZE)).tolist()
    assert full_page.rectangles == expected


def test_report_of_a_run_without_erasing_and_maps(report: Callable[..., ParsedPage]) -> None:
    page = report(
        policy=None,
        cache=None,
        metrics=[metrics_row(epoch, 0, lam=0.0) for epoch in range(2)],
        summary=full_summary(generations=[], pointing=[], overhead=None),
    )
    assert page.rectangles == []
    assert "Overhead" not in page.text
    assert "No maps were used in this run." in page.text
    assert "SCAE is off in this run, so there are no rectangles of it." in page.text
    assert "row " not in page.text
    assert "Guidance" not in page.text


def test_report_of_a_single_epoch_without_test_split(report: Callable[..., ParsedPage]) -> None:
    unmeasured = dict.fromkeys(("test_loss", "test_top1", "test_many", "test_medium", "test_few"))
    page = report(
        metrics=[metrics_row(0, 0, **unmeasured)],
        summary=full_summary(
            epochs=1, top1=None, medium=None, few=None, per_class=[], generations=[], pointing=[]
        ),
    )
    assert "1 epoch " in page.text
    assert "epoch 0" in page.text
    assert len(page.rectangles) == 6 * NUM_BOXES
    assert "Accuracy by class size" not in page.text
    assert "Without test images no class can be called the worst." in page.text


def test_report_says_so_when_a_generation_is_no_longer_there(
    report: Callable[..., ParsedPage],
) -> None:
    page = report(metrics=[metrics_row(epoch, 7) for epoch in range(2)])
    assert page.text.count("generation 7 was removed") == 6 * 2
    assert "the maps of generation 7 are not in the cache any more" in page.text


def test_report_of_data_without_masks_does_not_judge_its_maps(
    report: Callable[..., ParsedPage],
) -> None:
    page = report(summary=full_summary(pointing=[]))
    assert "Where the objects are is not known" in page.text
    assert "ointing game" not in page.text


def test_report_bytes_depend_on_the_run_alone(
    report: Callable[..., ParsedPage], tmp_path: Path
) -> None:
    report()
    first = (tmp_path / "report.html").read_bytes()
    report()
    assert (tmp_path / "report.html").read_bytes() == first


def test_report_of_many_classes_and_epochs_stays_small(
    report: Callable[..., ParsedPage], tmp_path: Path
) -> None:
    counts = tuple(range(1000, 0, -1))
    images = np.random.default_rng(0).integers(0, 256, (1000, 8, 8, 3), np.uint8)
    data = ArrayData(images, range(1000), [f"class {k}" for k in range(1000)], name="many")
    report(
        data=data,
        cache=None,
        metrics=[metrics_row(epoch, 0) for epoch in range(200)],
        policy=ScaePolicy(num_epochs=200, class_counts=counts),
        summary=full_summary(
            per_class=np.linspace(0, 1, 1000).tolist(), confused=[[7, 0.5]] * 1000
        ),
    )
    assert (tmp_path / "report.html").stat().st_size < 2_000_000


def test_report_is_whole_on_a_phone_and_on_a_wide_screen(
    report: Callable[..., ParsedPage], tmp_path: Path
) -> None:
    report()
    num_pictures = len(re.findall("<img ", (tmp_path / "report.html").read_text()))
    with headless_chromium() as browser:
        for width in (1280, 390):
            assert check_whole(browser, tmp_path / "report.html", width) == num_pictures > 0
