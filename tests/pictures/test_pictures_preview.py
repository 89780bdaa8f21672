"""The preview shows what the cache holds and what the loader draws."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.patches import Rectangle
from PIL import Image

from cache_store.errors import CacheMismatchError, CacheNotFoundError
from cache_store.store import SaliencyStore
from cli.preview import preview_command
from loaders.centres import sample_centres
from loaders.erasing import centred_boxes, sample_sides
from loaders.errors import OptionError
from loaders.image_data import ArrayData, ImageData
from loaders.named_data import open_data
from loaders.randomness import KeyedStream
from pipeline.pictures.marks import figure_png
from pipeline.pictures.preview import PreviewOptions, write_preview
from pipeline.pictures.preview_figure import CELL, GAP, HEAD, STRIP

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from cache_store.writer import GenerationPlan

SIZE, FLAT_ROW = 32, 4
NAMES = ("ant", "$x_1^", "\u72ac")  # markup of matplotlib, and a letter its font does not have


@pytest.fixture
def data() -> ArrayData:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (12, SIZE, SIZE, 3), np.uint8)
    return ArrayData(images, np.repeat((0, 1, 2), (6, 4, 2)), NAMES, name="toy")


@pytest.fixture
def maps() -> NDArray[np.uint8]:
    maps_N34 = np.random.default_rng(2).integers(0, 256, (12, 3, 4), np.uint8)
    maps_N34[FLAT_ROW] = 0
    return maps_N34


@pytest.fixture
def make_cache(
    make_plan: Callable[..., GenerationPlan], maps: NDArray[np.uint8]
) -> Callable[..., SaliencyStore]:
    def make(url: Path, data: ImageData, *, publish: bool = True) -> SaliencyStore:
        plan = make_plan(len(data), size=SIZE)
        provenance = replace(plan.provenance, fingerprint=data.fingerprint)
        plan = replace(plan, provenance=provenance)
        store = SaliencyStore.create(
            url,
            sample_ids=data.sample_ids,
            content_ids=data.content_ids,
            labels=data.labels,
            fingerprint=data.fingerprint,
            data=data.name,
        )
        if publish:
            writer = store.begin(plan)
            for block in writer.pending():
                start, stop = writer.block_range(block)
                writer.write_block(
                    block, np.resize(maps, (stop, 3, 4))[start:], np.full(stop - start, 0.25), ()
                )
            store.publish(writer)
        return store

    return make


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


def corners(axes: Axes) -> list[list[float]]:
    """Rectangles in the axes as (y0, x0, y1, x1)."""
    found = []
    for patch in axes.patches:
        assert isinstance(patch, Rectangle)
        (x0, y0), (x1, y1) = patch.get_corners()[[0, 2]]
        found.append([y0, x0, y1, x1])
    return found


def test_preview_shows_each_image_pixel_for_pixel(
    tmp_path: Path, data: ArrayData, make_cache: Callable[..., SaliencyStore]
) -> None:
    make_cache(tmp_path / "maps.zarr", data)
    out = tmp_path / "grid.png"
    options = PreviewOptions(rows=(3, 11, 7), lambdas=(-1.0, 4.0))
    report = write_preview(data, tmp_path / "maps.zarr", out, options)
    with Image.open(out) as picture:
        page_HW3 = np.asarray(picture.convert("RGB"))
    assert page_HW3.shape[1] == GAP + 5 * (CELL + GAP)
    assert report.rows == (3, 11, 7)
    for place, row in enumerate(report.rows):
        top = HEAD + place * (STRIP + CELL + GAP) + STRIP
        cell = page_HW3[top : top + CELL, GAP : GAP + CELL]
        np.testing.assert_array_equal(cell[3 :: CELL // SIZE, 3 :: CELL // SIZE], data.images[row])
    assert not list(tmp_path.glob("*.partial"))


def test_preview_draws_the_rectangles_that_the_sampler_returns(
    tmp_path: Path,
    data: ArrayData,
    maps: NDArray[np.uint8],
    make_cache: Callable[..., SaliencyStore],
    figures: list[Figure],
) -> None:
    make_cache(tmp_path / "maps.zarr", data)
    options = PreviewOptions(rows=(2, 9), lambdas=(-3.0, 3.0), boxes=5, seed=8)
    write_preview(data, tmp_path / "maps.zarr", tmp_path / "grid.png", options)
    with_boxes = [axes for axes in figures[0].axes if axes.patches]
    expected = []
    for row in (2, 9):
        for lam in (-3.0, 3.0):
            keys = (8, 0, np.full(5, row), np.arange(5))
            centres = sample_centres(
                np.repeat(maps[row : row + 1], 5, axis=0),
                (SIZE, SIZE),
                lam,
                KeyedStream(*keys, "centre"),
            )
            heights, widths = sample_sides(5, (SIZE, SIZE), KeyedStream(*keys, "sides"))
            expected.append(centred_boxes(centres, heights, widths, (SIZE, SIZE)).tolist())
    assert [corners(axes) for axes in with_boxes] == expected


def test_preview_says_which_maps_are_flat(
    tmp_path: Path,
    data: ArrayData,
    make_cache: Callable[..., SaliencyStore],
    figures: list[Figure],
) -> None:
    make_cache(tmp_path / "maps.zarr", data)
    options = PreviewOptions(rows=(FLAT_ROW, 5))
    report = write_preview(data, tmp_path / "maps.zarr", tmp_path / "grid.png", options)
    assert report.num_flat == 1
    assert "2 samples of generation 1, 1 of them with a flat map" in report.text
    assert texts(figures[0]).count("flat map: uniform") == 2  # on the map and on the density
    assert "p = 0.25" in texts(figures[0])


def test_preview_draws_class_names_that_are_markup_or_not_in_the_font(
    tmp_path: Path,
    data: ArrayData,
    make_cache: Callable[..., SaliencyStore],
    figures: list[Figure],
) -> None:
    make_cache(tmp_path / "maps.zarr", data)
    options = PreviewOptions(rows=(0, 6, 10), lambdas=(0.0,))
    write_preview(data, tmp_path / "maps.zarr", tmp_path / "grid.png", options)
    assert {"ant", "$x_1^", "\N{REPLACEMENT CHARACTER}"} <= set(texts(figures[0]))


def test_preview_shows_a_subset_with_its_own_maps(
    tmp_path: Path,
    data: ArrayData,
    make_cache: Callable[..., SaliencyStore],
    figures: list[Figure],
) -> None:
    make_cache(tmp_path / "maps.zarr", data)
    part = data.subset([7, FLAT_ROW, 1])
    options = PreviewOptions(rows=(1,))
    report = write_preview(part, tmp_path / "maps.zarr", tmp_path / "grid.png", options)
    assert report.num_flat == 1
    assert "toy[4]" in texts(figures[0])


@pytest.mark.parametrize(
    ("options", "name", "error", "message"),
    [
        pytest.param({"rows": (3, 12)}, "a.png", OptionError, "[0, 12), got 12", id="row"),
        pytest.param({"rows": (-1,)}, "a.png", OptionError, "[0, 12), got -1", id="negative-row"),
        pytest.param({}, "a.jpg", OptionError, "must end in .png, got", id="not-png"),
        pytest.param({}, "no/a.png", OptionError, "a folder that is there, got", id="no-folder"),
        pytest.param({}, "folder.png", OptionError, "must be a file, got", id="is-folder"),
        pytest.param(
            {"generation": 5}, "a.png", CacheNotFoundError, "no generation 5", id="generation"
        ),
    ],
)
def test_preview_refuses_in_one_line_and_writes_nothing(
    tmp_path: Path,
    data: ArrayData,
    make_cache: Callable[..., SaliencyStore],
    options: dict[str, Any],
    name: str,
    error: type[Exception],
    message: str,
) -> None:
    make_cache(tmp_path / "maps.zarr", data)
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=re.escape(message)) as caught:
        write_preview(data, tmp_path / "maps.zarr", tmp_path / name, PreviewOptions(**options))
    assert "\n" not in str(caught.value)
    left = [path for path in sorted(tmp_path.iterdir()) if not path.name.startswith("scae-")]
    assert left == before


def test_preview_refuses_a_cache_without_generation_or_of_other_data(
    tmp_path: Path, data: ArrayData, make_cache: Callable[..., SaliencyStore]
) -> None:
    other = ArrayData(data.images, data.labels, NAMES, name="other", origins=np.arange(12) + 50)
    make_cache(tmp_path / "empty.zarr", data, publish=False)
    make_cache(tmp_path / "maps.zarr", data)
    with pytest.raises(CacheNotFoundError, match="no published generation: run 'scae refresh'"):
        write_preview(data, tmp_path / "empty.zarr", tmp_path / "a.png", PreviewOptions())
    with pytest.raises(CacheMismatchError, match="no row for 12 of the 12 samples"):
        write_preview(other, tmp_path / "maps.zarr", tmp_path / "a.png", PreviewOptions())


def test_preview_that_fails_leaves_the_picture_that_was_there(
    tmp_path: Path,
    data: ArrayData,
    make_cache: Callable[..., SaliencyStore],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_cache(tmp_path / "maps.zarr", data)
    out = tmp_path / "grid.png"
    out.write_bytes(b"before")

    replace = type(out).replace

    def refuse(self: Path, target: Path) -> Path:
        if target == out:
            raise PermissionError(13, "Permission denied")
        return replace(self, target)

    monkeypatch.setattr(type(out), "replace", refuse)
    with pytest.raises(OptionError, match=r"can't write preview .*: Permission denied; choose"):
        write_preview(data, tmp_path / "maps.zarr", out, PreviewOptions(num=1, lambdas=(0.0,)))
    assert out.read_bytes() == b"before"
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"num": 0}, "num of a preview must be in [1, 64], got 0", id="none"),
        pytest.param({"rows": ()}, "number of rows of a preview must be in [1, 64]", id="no-rows"),
        pytest.param({"boxes": 101}, "boxes of a preview must be in [0, 100], got 101", id="boxes"),
        pytest.param({"lambdas": ()}, "1 to 12 finite numbers, got []", id="no-lambda"),
        pytest.param({"lambdas": (float("inf"),)}, "finite numbers, got [inf]", id="infinite"),
    ],
)
def test_preview_options_refuse_what_can_not_be_drawn(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        PreviewOptions(**options)


def test_preview_command_draws_a_folder(
    tmp_path: Path, jpeg_folder: Callable[..., Path], make_cache: Callable[..., SaliencyStore]
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
        assert picture.size[0] == GAP + 5 * (CELL + GAP)
