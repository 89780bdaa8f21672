"""`scae bench loader`: real contenders on few images."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli.bench_loader import bench_loader_command
from pipeline.bench import loader_speed
from pipeline.bench.jpeg_rivals import RIVALS
from pipeline.bench.loader_speed import LoaderOptions, measure_jpeg
from pipeline.errors import BenchError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six JPEG files of two classes, and fewer images in memory than the command has."""
    monkeypatch.setattr(loader_speed, "MEMORY_SAMPLES", 512)
    rng = np.random.default_rng(0)
    for number in range(6):
        folder = tmp_path / "photos" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    return tmp_path / "photos"


# torchvision announces that its decoders move to torchcodec; the rival is timed as it is.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_command_times_ours_and_the_rivals_that_are_there(photos: Path) -> None:
    words = ["--data", str(photos), "--size", "16", "--batch-size", "4", "--rounds", "3", "--json"]
    without = ["litdata", "webdataset", "mosaicml-streaming"]
    for name in without:
        words += ["--without", name]
    result = CliRunner().invoke(bench_loader_command, words)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["environment"]["workers"] == "1"
    memory, jpeg = found["parts"]
    names = [row["name"] for row in memory["rows"]]
    assert names == ["scae", "scae, no erasing", "torchvision v2, a sample at a time"]
    there = [name for name in ("torchvision v2", "albumentations") if _is_there(name)]
    assert [row["name"] for row in jpeg["rows"]] == ["scae", "scae, no erasing", *there]
    assert "torchvision v2" in there
    for row in (*memory["rows"], *jpeg["rows"]):
        speed = row["images_per_second"]
        assert 0 < speed["low"] <= speed["median"] <= speed["high"]


def _is_there(rival: str) -> bool:
    return importlib.util.find_spec(RIVALS[rival].replace("-", "_")) is not None


def test_rivals_that_are_not_installed_are_listed(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.bench.loader_speed.jpeg_rival", lambda _name, _task: None)
    figures = measure_jpeg(photos, LoaderOptions(rounds=3, size=16), lambda _name: None)
    assert figures.absent == tuple(RIVALS)
    assert "6 JPEG files of photos to 16x16" in figures.title


def test_processor_time_counts_the_worker(photos: Path) -> None:
    options = LoaderOptions(rounds=3, size=16, clock="cpu", without=tuple(RIVALS))
    begun = loader_speed.CLOCKS["cpu"]()
    measure_jpeg(photos, options, lambda _name: None)
    assert loader_speed.CLOCKS["cpu"]() > begun


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"without": ("dali",)}, "without must name .* got dali", id="name"),
        pytest.param({"clock": "sun"}, "clock must be wall or cpu, got 'sun'", id="clock"),
        pytest.param({"images": 0}, "images must be 1 or more, got 0", id="images"),
    ],
)
def test_options_outside_their_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        LoaderOptions(**options)  # type: ignore[arg-type]


def test_a_folder_without_jpegs_is_refused(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name / "0.png")
    with pytest.raises(Exception, match=r"must hold \.jpg or \.jpeg files, got 2 others"):
        measure_jpeg(tmp_path, LoaderOptions(rounds=3), lambda _name: None)
