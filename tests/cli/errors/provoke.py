"""A mistake of a user, as a command line on tiny data, and what the command says to it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli.main import main
from tests.cli.errors.sites import recorded, sites_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REFRESH = "refresh --network resnet8 --weights random --size 16"
"""A refresh that still lacks data and cache."""
NEW_CACHE = "refresh --data {data} --cache {tmp}/new.zarr --size 16"
"""A refresh that still lacks network and weights."""
OWN_CACHE = "{tmp}/maps.zarr"
"""Where `Place.own_cache` copies to."""
NEW_RUN = "train --run {tmp}/new"
"""A training run that has no recipe of its own."""
NEXT_RUN = f"{NEW_RUN} --from-run {{run}}"
"""A training run by the recipe and on the data of the shared run."""
RECIPE = """
[data]
size = 16
evaluate = false
[train]
epochs = 1
batch_size = 8
precision = "fp32"
device = "cpu"
[refresh]
interval = 0
[augment]
method = "random_erasing"
"""
TABLE = """
[[table]]
name = 't'
title = 'T'
metrics = ['top1']
against = 'a'
rows = [{recipe = 'a', label = 'A'}]
"""
"""The paper's figures, as `scae report` reads them."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a mistake is made: what all share and nobody changes, and a folder of its own."""

    tmp: Path
    """Empty; the case may do in it what it likes."""
    data: Path
    """Three classes of six 16x16 JPEGs."""
    cache: Path
    """Maps of `data`, one generation."""
    run: Path
    """A finished run of one epoch on `data`."""
    patch: pytest.MonkeyPatch
    """Undone after the command."""

    def own_data(self) -> Path:
        """Copy `data`, to be changed."""
        return shutil.copytree(self.data, self.tmp / "data")

    def own_cache(self) -> Path:
        """Copy `cache`, to be changed."""
        return shutil.copytree(self.cache, self.tmp / "maps.zarr")

    def own_run(self) -> Path:
        """Copy `run`, to be changed."""
        return shutil.copytree(self.run, self.tmp / "run")

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file below `tmp`."""
        path = self.tmp / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row of the table."""

    name: str
    """Its id."""
    line: str
    """Command line; {tmp}, {data}, {cache} and {run} are those of the `Place`."""
    message: str
    """Part of the message that names the thing and what is wrong with it."""
    cure: str
    """Part of the message that says what to do."""
    at: str
    """Sites that it is provoked at, with blanks between them; none where click itself refuses."""
    code: int = 1
    """Exit code."""
    prepare: Callable[[Place], object] | None = field(default=None, repr=False)
    """What makes the place such that the line is a mistake."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said."""

    code: int
    stderr: str
    output: str
    sites: frozenset[str]

    @property
    def message(self) -> str:
        """The error's line, without the word that begins it."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("Error: ")]
        return lines[-1].removeprefix("Error: ") if lines else ""


def scae(line: str, place: Place) -> Answer:
    """Run a command line in this process."""
    names = {name: str(getattr(place, name)) for name in ("tmp", "data", "cache", "run")}
    names |= {"recipes": str(place.data.parent / "recipes"), "epoch": "{epoch}"}
    words = [word.format(**names) for word in line.split()]
    with recorded() as lines:
        result = CliRunner().invoke(main, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Answer(result.exit_code, result.stderr, result.output, frozenset(sites_at(lines)))


def done(line: str, place: Place) -> None:
    """Run a command line that has to succeed, to prepare a place."""
    answer = scae(line, place)
    assert answer.code == 0, answer.stderr


def provoke(mistake: Mistake, shared: Place, tmp: Path) -> Answer:
    """Make a mistake in the folder `tmp`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCAE_RESIDENT_DIR", str(tmp.parent))
        patch.chdir(tmp)
        place = Place(tmp, shared.data, shared.cache, shared.run, patch)
        if mistake.prepare is not None:
            mistake.prepare(place)
        return scae(mistake.line, place)


def each(*steps: Callable[[Place], object]) -> Callable[[Place], object]:
    """Prepare a place in several steps."""

    def prepare(place: Place) -> None:
        for step in steps:
            step(place)

    return prepare


def make_shared(root: Path) -> Place:
    """Make what all cases share."""
    rng = np.random.default_rng(1)
    for label in ("ant", "bee", "cat"):
        folder = root / "photos" / label
        folder.mkdir(parents=True)
        for index in range(6):
            pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.jpg", quality=95)
    place = Place(root, root / "photos", root / "maps.zarr", root / "run", pytest.MonkeyPatch())
    place.write("tiny.toml", RECIPE)
    place.write("recipes/a.toml", RECIPE)
    place.write("recipes/paper/figures.toml", TABLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCAE_RESIDENT_DIR", str(root))
        for line in (
            f"{REFRESH} --data {{data}} --cache {{cache}}",
            f"train --recipe {root}/tiny.toml --data {{data}} --run {{run}}",
        ):
            done(line, place)
    return place
