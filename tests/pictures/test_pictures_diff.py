"""The picture of a comparison shows its histograms and the maps that moved most."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli.cache_diff import diff_command
from loaders.image_data import ArrayData
from loaders.named_data import open_data
from pipeline.pictures.diff_sample import Histogram
from pipeline.pictures.sheet import Sheet
from tests.browser import check_whole, headless_chromium
from tests.html_page import ParsedPage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cache_store.store import SaliencyStore


@pytest.fixture
def two(
    tmp_path: Path,
    jpeg_folder: Callable[..., Path],
    make_cache: Callable[..., SaliencyStore],
    publish: Callable[..., None],
    maps: NDArray[np.uint8],
) -> list[str]:
    """Words that name two generations of a folder's cache; only row 2 has moved."""
    folder = jpeg_folder(num=2)
    store = make_cache(tmp_path / "maps.zarr", open_data(folder))
    later = maps.copy()
    later[2] = 255 - maps[2]
    publish(store, later, epoch=7)
    return [f"{store.url}@1", f"{store.url}@2", "--data", str(folder)]


@pytest.mark.parametrize("with_data", [True, False], ids=["images", "maps-alone"])
def test_diff_is_drawn_as_a_page_and_as_a_picture(
    tmp_path: Path, two: list[str], *, with_data: bool
) -> None:
    words = two if with_data else two[:2]
    page, picture = tmp_path / "diff.html", tmp_path / "diff.png"
    for out in (page, picture):
        result = CliRunner().invoke(diff_command, [*words, "--worst", "2", "--out", str(out)])
        assert result.exit_code == 0, result.output
        assert result.output.splitlines()[-1] == f"drawn in {out}"
    parsed = ParsedPage(page.read_text())
    assert parsed.needs_nothing_else()
    assert parsed.unnamed == 0
    found = json.loads(CliRunner().invoke(diff_command, [*words, "--json"]).output)
    first = found["worst"][0]
    assert first["first_row"] == 2
    for text in (
        f"TV {first['tv_distance']:.2f} · ranks \N{MINUS SIGN}1.00 · peak moved",
        f"rows 2 and 2 · id {first['sample_id']:016x}",
        f"{found['tv_distance']:.4f} at lambda 2, 32x32 pixels",
    ):
        assert text in parsed.text
    assert len(parsed.addresses) == 2 + (2 * 5 if with_data else 2 * 2)
    with Image.open(picture) as drawn:
        assert np.asarray(drawn).std() > 1


def test_bars_of_a_histogram_are_its_counts() -> None:
    axes = Sheet(200, 200).chart(20, 20, 100, 100)
    Histogram(title="", caption="", counts=(3, 0, 5, 1), reach=(-1, 1), mean=0.25).draw(axes)
    assert [bar.get_height() for bar in axes.patches] == [3, 0, 5, 1]  # type: ignore[attr-defined]
    assert [bar.get_x() for bar in axes.patches] == [-1, -0.5, 0, 0.5]  # type: ignore[attr-defined]
    assert np.asarray(axes.lines[0].get_xdata()).tolist() == [0.25, 0.25]


def test_diff_refuses_a_picture_before_it_compares(tmp_path: Path, two: list[str]) -> None:
    out = tmp_path / "diff.jpg"
    result = CliRunner().invoke(diff_command, [*two, "--out", str(out)])
    assert result.exit_code == 1
    assert result.output == (
        f"Error: out of a diff must end in .png or .html, got {out}: write diff.png\n"
    )


def test_pages_are_whole_on_a_phone_and_on_a_wide_screen(
    tmp_path: Path, two: list[str], make_cache: Callable[..., SaliencyStore], data: ArrayData
) -> None:
    from pipeline.pictures.preview import PreviewOptions, write_preview

    CliRunner().invoke(diff_command, [*two, "--out", str(tmp_path / "diff.html")])
    make_cache(tmp_path / "toy.zarr", data)
    twelve = tuple(np.linspace(-4, 4, 12))
    for name, options in (
        ("one.html", PreviewOptions(num=3)),
        ("two.html", PreviewOptions(generations=(1, 1), rows=(4, 0))),
        ("wide.html", PreviewOptions(rows=(3,), lambdas=twelve, boxes=0)),
    ):
        write_preview(data, tmp_path / "toy.zarr", tmp_path / name, options)
    with headless_chromium() as browser:
        for name in ("diff.html", "one.html", "two.html", "wide.html"):
            num_pictures = len(re.findall("<img ", (tmp_path / name).read_text()))
            for width in (1280, 390):
                assert check_whole(browser, tmp_path / name, width) == num_pictures > 0
