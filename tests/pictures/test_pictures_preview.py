"""The preview shows what the cache holds and what the loader draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from matplotlib.patches import Rectangle
from PIL import Image

from cache_store.store import SaliencyStore
from cli.preview import preview_command
from loaders.centres import sample_centres
from loaders.erasing import centred_boxes, sample_sides
from loaders.image_data import ArrayData
from loaders.named_data import open_data
from loaders.randomness import KeyedStream
from pipeline.pictures.marks import figure_png
from pipeline.pictures.preview import PreviewOptions, write_preview
from pipeline.pictures.preview_figure import GAP, Layout
from pipeline.pictures.preview_panel import Shown, generation_panels
from tests.html_page import ParsedPage
from tests.pictures.conftest import FLAT_ROW, SIZE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    MakeCache = Callable[..., SaliencyStore]
    Publish = Callable[..., None]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures that previews of this test draw."""
    drawn: list[Figure] = []

    def keep(figure: Figure) -> bytes:
        drawn.append(figure)
        return figure_png(figure)

    monkeypatch.setattr("pipeline.pictures.preview.figure_png", keep)
    return drawn


def texts(figure: Figure) -> list[str]:
    inside = [text.get_text() for axes in figure.axes for text in axes.texts]
    return inside + [text.get_text() for text in figure.texts]


def places(page_HW3: NDArray[np.uint8], cell: NDArray[np.uint8], left: int) -> list[int]:
    """Lines at which a cell begins, pixel for pixel, in a column of the picture."""
    side = len(cell)
    strip = page_HW3[:, left : left + side]
    near = np.flatnonzero((strip[: len(strip) - side + 1] == cell[0]).all((1, 2)))
    return [int(top) for top in near if (strip[top : top + side] == cell).all()]


def enlarged(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.kron(image, np.ones((side // SIZE, side // SIZE, 1), np.uint8))


def expected_boxes(
    map_34: NDArray[np.uint8], row: int, lam: float, *, num: int, seed: int
) -> NDArray[np.int64]:
    """Rectangles that the sampler returns for a row's first appearances."""
    keys = (seed, 0, np.full(num, row), np.arange(num))
    maps = np.repeat(map_34[None], num, axis=0)
    centres = sample_centres(maps, (SIZE, SIZE), lam, KeyedStream(*keys, "centre"))
    heights, widths = sample_sides(num, (SIZE, SIZE), KeyedStream(*keys, "sides"))
    return centred_boxes(centres, heights, widths, (SIZE, SIZE))


def erased(image: NDArray[np.uint8], box: NDArray[np.int64]) -> NDArray[np.uint8]:
    """An image with 0 after normalising, so the mean, in a box."""
    y0, x0, y1, x1 = box
    seen = image.copy()
    seen[y0:y1, x0:x1] = 128  # the mean of `make_plan` is 0.5
    return seen


def test_preview_shows_images_and_inputs_pixel_for_pixel(
    tmp_path: Path, data: ArrayData, maps: NDArray[np.uint8], make_cache: MakeCache
) -> None:
    make_cache(tmp_path / "maps.zarr", data)
    out = tmp_path / "grid.png"
    options = PreviewOptions(rows=(3, 11, 7), lambdas=(-1.0, 4.0), boxes=0)
    report = write_preview(data, tmp_path / "maps.zarr", out, options)
    with Image.open(out) as picture:
        page_HW3 = np.asarray(picture.convert("RGB"))
    layout = Layout.of(SIZE, 2)
    assert (layout.wide, layout.cell) == (128, 96)
    assert page_HW3.shape[1] == GAP + 2 * (layout.width + GAP)
    assert report.rows == (3, 11, 7)
    tops = []
    for place, row in enumerate(report.rows):
        left = GAP + place % 2 * (layout.width + GAP)
        (top,) = places(page_HW3, enlarged(data.images[row], layout.wide), left)
        tops.append(top)
        for number, lam in enumerate(options.lambdas):
            (box,) = expected_boxes(maps[row], row, lam, num=1, seed=0)
            cell = enlarged(erased(data.images[row], box), layout.cell)
            (line,) = places(page_HW3, cell, left + layout.left(number))
            assert line - top == layout.line(2) - layout.top
    assert tops[0] == tops[1] < tops[2]
    assert not list(tmp_path.glob("*.partial"))


def test_preview_draws_the_rectangles_that_the_sampler_returns(
    tmp_path: Path,
    data: ArrayData,
    maps: NDArray[np.uint8],
    make_cache: MakeCache,
    figures: list[Figure],
) -> None:
    make_cache(tmp_path / "maps.zarr", data)
    options = PreviewOptions(rows=(2, 9), lambdas=(-3.0, 3.0), boxes=5, seed=8)
    write_preview(data, tmp_path / "maps.zarr", tmp_path / "grid.png", options)
    write_preview(data, tmp_path / "maps.zarr", tmp_path / "page.html", options)
    expected = [
        expected_boxes(maps[row], row, lam, num=5, seed=8) for row in (2, 9) for lam in (-3.0, 3.0)
    ]
    with Image.open(tmp_path / "grid.png") as picture:
        page_HW3 = np.asarray(picture.convert("RGB"))
    layout = Layout.of(SIZE, 2)
    (top,) = places(page_HW3, enlarged(data.images[2], layout.wide), GAP)
    drawn = iter(figures[0].axes[0].patches)
    for place, boxes in enumerate(expected):
        left = GAP + place // 2 * (layout.width + GAP) + layout.left(place % 2)
        origin = np.array([top + layout.line(1) - layout.top, left] * 2)
        for box in boxes:
            patch = next(drawn)
            assert isinstance(patch, Rectangle)
            (x0, y0), (x1, y1) = patch.get_corners()[[0, 2]]
            np.testing.assert_allclose((np.array([y0, x0, y1, x1]) - origin) / 3, box)
    assert next(drawn, None) is None
    page = ParsedPage((tmp_path / "page.html").read_text())
    assert page.rectangles == np.concatenate(expected).tolist()


def test_preview_shows_generations_side_by_side_with_the_same_random_numbers(
    tmp_path: Path,
    data: ArrayData,
    maps: NDArray[np.uint8],
    make_cache: MakeCache,
    publish: Publish,
) -> None:
    store = make_cache(tmp_path / "maps.zarr", data)
    publish(store, maps[::-1], epoch=7)
    options = PreviewOptions(
        generations=(2, 1), ids=(int(data.sample_ids[3]),), lambdas=(0.0, 5.0), boxes=4
    )
    report = write_preview(data, tmp_path / "maps.zarr", tmp_path / "two.html", options)
    assert (report.generations, report.rows) == ((2, 1), (3,))
    assert report.text.endswith("1 samples of generations 2 and 1")
    page = ParsedPage((tmp_path / "two.html").read_text())
    assert page.needs_nothing_else()
    assert page.unnamed == 0
    assert page.rectangles == [
        box
        for own in (maps[::-1], maps)
        for lam in (0.0, 5.0)
        for box in expected_boxes(own[3], 3, lam, num=4, seed=0).tolist()
    ]
    assert page.rectangles[:4] == page.rectangles[8:12]  # maps do not matter where lambda is 0
    for words in ("toy · generations 2 and 1", "after epoch 7", f"id {data.sample_ids[3]:016x}"):
        assert words in page.text
    write_preview(data, tmp_path / "maps.zarr", tmp_path / "two.png", options)
    layout = Layout.of(SIZE, 2)
    with Image.open(tmp_path / "two.png") as picture:
        page_HW3 = np.asarray(picture.convert("RGB"))
    image = enlarged(data.images[3], layout.wide)
    beside = places(page_HW3, image, GAP + layout.width + GAP)
    assert places(page_HW3, image, GAP) == beside != []


def test_density_of_a_panel_is_equation_4_over_the_upsampled_map(
    tmp_path: Path, data: ArrayData, maps: NDArray[np.uint8], make_cache: MakeCache
) -> None:
    generation = make_cache(tmp_path / "maps.zarr", data).latest()
    shown = Shown(rows=np.array([5]), lambdas=(-2.0, 3.0), num_boxes=0, seed=0)
    (panel,) = generation_panels(data, generation, shown, size=SIZE)
    upsampled = torch.nn.functional.interpolate(
        torch.from_numpy(maps[5])[None, None].double(), (SIZE, SIZE), mode="bilinear"
    )[0, 0].numpy()
    unit = (upsampled - upsampled.min()) / np.ptp(upsampled)
    for strength in panel.strengths:
        share = np.exp(strength.lam * unit) / np.exp(strength.lam * unit).sum()
        np.testing.assert_allclose(strength.density, share * SIZE**2, rtol=1e-5)
        assert strength.mean_saliency == pytest.approx((share * unit).sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        pytest.param({"classes": ("2",), "num": 9}, [2, 2], id="number"),
        pytest.param({"classes": ("$x_1^", "2"), "num": 3}, [1, 1, 2], id="name-and-number"),
        pytest.param({"classes": ("ant",), "num": 2}, [0, 0], id="name"),
    ],
)
def test_preview_chooses_among_the_classes_named(
    tmp_path: Path,
    data: ArrayData,
    make_cache: MakeCache,
    options: dict[str, Any],
    labels: list[int],
) -> None:
    make_cache(tmp_path / "maps.zarr", data)
    chosen = PreviewOptions(lambdas=(0.0,), boxes=0, **options)
    report = write_preview(data, tmp_path / "maps.zarr", tmp_path / "grid.html", chosen)
    assert data.labels[list(report.rows)].tolist() == labels
    assert len(set(report.rows)) == len(labels)


def test_preview_says_which_maps_are_flat(
    tmp_path: Path,
    data: ArrayData,
    make_cache: MakeCache,
    figures: list[Figure],
) -> None:
    make_cache(tmp_path / "maps.zarr", data)
    options = PreviewOptions(rows=(FLAT_ROW, 5))
    report = write_preview(data, tmp_path / "maps.zarr", tmp_path / "grid.png", options)
    assert report.num_flat == 1
    assert "2 samples of generation 1, 1 of their maps flat" in report.text
    assert texts(figures[0]).count("flat map: uniform") == 1
    assert texts(figures[0]).count("uniform") == 3 + 1  # every density of one, one of the other
    assert "p = 0.25" in texts(figures[0])


def test_preview_draws_class_names_that_are_markup_or_not_in_the_font(
    tmp_path: Path,
    data: ArrayData,
    make_cache: MakeCache,
    figures: list[Figure],
) -> None:
    make_cache(tmp_path / "maps.zarr", data)
    options = PreviewOptions(rows=(0, 6, 10), lambdas=(0.0,))
    write_preview(data, tmp_path / "maps.zarr", tmp_path / "grid.png", options)
    assert {"ant", "$x_1^", "\N{REPLACEMENT CHARACTER}"} <= set(texts(figures[0]))


def test_preview_shows_a_subset_with_its_own_maps(
    tmp_path: Path,
    data: ArrayData,
    make_cache: MakeCache,
    figures: list[Figure],
) -> None:
    make_cache(tmp_path / "maps.zarr", data)
    part = data.subset([7, FLAT_ROW, 1])
    options = PreviewOptions(rows=(1,))
    report = write_preview(part, tmp_path / "maps.zarr", tmp_path / "grid.png", options)
    assert report.num_flat == 1
    assert "row 1 · toy[4] · generation 1" in texts(figures[0])


def test_preview_command_draws_a_folder(
    tmp_path: Path, jpeg_folder: Callable[..., Path], make_cache: MakeCache
) -> None:
    folder = jpeg_folder(num=2)
    make_cache(tmp_path / "maps.zarr", open_data(folder))
    words = ["--data", str(folder), "--cache", str(tmp_path / "maps.zarr")]
    out = tmp_path / "grid.png"
    result = CliRunner().invoke(
        preview_command, [*words, "--rows", "0,3", "--lambda", "-2,2", "--out", str(out)]
    )
    assert (result.exit_code, result.output) == (0, f"{out}: 2 samples of generation 1\n")
    with Image.open(out) as picture:
        assert picture.width == 2 * GAP + 2 * Layout.of(SIZE, 2).width + GAP
