"""The figures of the pages are what their script draws.

Files may differ in bytes with the versions of matplotlib and zlib, and in last digits with the
processor. Compared is what they show: elements, texts, places to half a point, pixels.
"""

from __future__ import annotations

import base64
import io
import re
import runpy
from collections import Counter
from itertools import zip_longest
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

DOCS = Path(__file__).parent.parent / "docs"
DRAWN = sorted((DOCS / "figures").glob("*.svg"))
PLACE = 0.5
"""Points that a mark may be off."""
LEVEL = 2
"""Levels of 255 that a pixel may be off."""


@pytest.fixture(scope="module")
def redrawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    runpy.run_path(str(DOCS / "figures.py"))["write_figures"](folder)
    return folder


def _elements(path: Path) -> list[ET.Element]:
    # Metadata names the library's version.
    return [element for element in ET.parse(path).iter() if "svg}" in element.tag]


def _texts(path: Path) -> list[str]:
    return ["".join(part.itertext()) for part in _elements(path) if part.tag.endswith("}text")]


def _places(path: Path) -> list[float]:
    values = [
        part.get(name, "")
        for part in _elements(path)
        for name in ("d", "x", "y", "transform", "width", "height")
    ]
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", " ".join(values))]


def _images(path: Path) -> list[np.ndarray]:
    found = []
    for element in _elements(path):
        address = element.get("{http://www.w3.org/1999/xlink}href", "")
        if address.startswith("data:image/png;base64,"):
            content = base64.b64decode(address.partition(",")[2])
            found.append(np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"), np.int64))
    return found


def _differences(ours: Path, theirs: Path) -> list[str]:
    """Return what two figures show differently."""
    found = []
    if Counter(part.tag for part in _elements(ours)) != Counter(
        part.tag for part in _elements(theirs)
    ):
        found.append("elements")
    if _texts(ours) != _texts(theirs):
        found.append("texts")
    places = zip_longest(_places(ours), _places(theirs), fillvalue=np.inf)
    if any(not abs(one - other) <= PLACE for one, other in places):
        found.append("places")
    images = zip_longest(_images(ours), _images(theirs), fillvalue=np.zeros((0, 0, 4)))
    if any(one.shape != other.shape or (abs(one - other) > LEVEL).any() for one, other in images):
        found.append("pixels")
    return found


def test_script_draws_every_committed_figure_and_no_other(redrawn: Path) -> None:
    assert [path.name for path in DRAWN] == sorted(path.name for path in redrawn.iterdir())


@pytest.mark.parametrize("path", DRAWN, ids=lambda path: path.stem)
def test_committed_figure_shows_what_the_script_draws(path: Path, redrawn: Path) -> None:
    assert _differences(path, redrawn / path.name) == []


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        pytest.param("generation 3<", "generation 4<", ["texts"], id="word"),
        pytest.param("</defs>", "<rect/></defs>", ["elements"], id="element"),
        pytest.param(r'<use (.*?) x="(\d+)', r'<use \1 x="9\2', ["places"], id="place"),
    ],
)
def test_a_change_of_a_figure_is_seen(
    tmp_path: Path, redrawn: Path, before: str, after: str, what: list[str]
) -> None:
    drawn = (redrawn / "time_line.svg").read_text()
    (tmp_path / "changed.svg").write_text(re.sub(before, after, drawn, count=1))
    assert _differences(tmp_path / "changed.svg", redrawn / "time_line.svg") == what


def test_a_change_of_a_pixel_is_seen(tmp_path: Path, redrawn: Path) -> None:
    drawn = (redrawn / "centre_law.svg").read_text()
    (start, *_) = re.findall(r"data:image/png;base64,([^\"]+)", drawn)
    content = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(start))) as image:
        Image.new(image.mode, image.size).save(content, "PNG")
    black = base64.b64encode(content.getvalue()).decode()
    (tmp_path / "changed.svg").write_text(drawn.replace(start, black))
    assert _differences(tmp_path / "changed.svg", redrawn / "centre_law.svg") == ["pixels"]


@pytest.mark.parametrize("path", DRAWN, ids=lambda path: path.stem)
def test_figure_is_on_the_page_with_words_for_who_cannot_see_it(path: Path) -> None:
    page = (DOCS / "how-it-works.md").read_text()
    assert re.search(rf"!\[[^\]]{{20,}}\]\(figures/{path.name}\)", page)
