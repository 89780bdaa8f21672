"""Which recipe a run is of, and how its settings differ from that recipe's.

Runs that differ in anything but the seed never share a row.
"""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.training.debug_form import DEBUG_SUFFIX
from pipeline.training.recipe_file import load_recipe
from pipeline.training.run_record import RunRecord

__all__ = ["RowRecipes", "Variant"]

IGNORED = (
    "name", "seed", "data.root", "data.download", "data.in_memory", "data.deep", "train.workers",
    "train.keep_checkpoints", "train.device", "refresh.workers",
)  # fmt: skip
"""Settings that say where and how something runs, not what comes out."""


@dataclass(frozen=True, slots=True)
class Variant:
    """How runs differ from the recipes of their rows."""

    debug: bool = False
    """Whether they are debug forms."""
    changes: tuple[tuple[str, str], ...] = ()
    """Keys and the values they have, as TOML words, where those are not the recipe's."""

    def describe(self) -> str:
        """Return the differences in words, empty for none."""
        parts = ["debug form"] if self.debug else []
        return ", ".join(parts + [f"{key} = {value}" for key, value in self.changes])

    def words(self) -> list[str]:
        """Return the options of `scae sweep` that make such runs."""
        words = ["--debug"] if self.debug else []
        for key, value in self.changes:
            words += ["--set", shlex.quote(f"{key}={value}")]
        return words


class RowRecipes:
    """The recipes of a table's rows, read once each.

    Args:
        folder: Folder of the recipe files.
        names: Names of the files without their ending.
    """

    def __init__(self, folder: Path, names: set[str]) -> None:
        self.folder = folder
        self._by_title: dict[str, str] = {}
        self._settings: dict[tuple[str, bool], dict[str, str]] = {}
        for name in sorted(names):
            for debug in (False, True):
                recipe = load_recipe(folder / f"{name}.toml", debug=debug)
                self._by_title[recipe.name] = name
                self._settings[name, debug] = flat_settings(recipe.as_dict())

    def name_of(self, record: RunRecord) -> str | None:
        """Return the recipe that a run is of, by its file's name or its title; None for others."""
        if record.recipe is not None and (record.recipe, False) in self._settings:
            return record.recipe
        return self._by_title.get(record.name)

    def variant(self, name: str, record: RunRecord) -> Variant:
        """Return how a run of a recipe differs from it."""
        debug = record.name.endswith(DEBUG_SUFFIX)
        recipe, run = self._settings[name, debug], flat_settings(record.settings)
        changed = [
            key for key in sorted(recipe.keys() | run.keys()) if recipe.get(key) != run.get(key)
        ]
        return Variant(debug, tuple((key, run.get(key, "left out")) for key in changed))


def flat_settings(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return settings that decide a result by dotted key, values as TOML words."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= flat_settings(value, f"{name}.")
        elif name not in IGNORED:
            flat[name] = value if isinstance(value, str) else json.dumps(value)
    return flat
