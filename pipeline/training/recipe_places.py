"""Where the keys of a recipe were set: which file and line, or the command line."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pipeline.errors import RecipeError

COMMAND_LINE = "the command line"
"""Where overrides come from, and a recipe without a file."""
WORD = re.compile(r"([A-Za-z]\w*(?:\.\w+)*)( =| '|)")
"""A word of a message, and what tells that it may be a key."""


class RecipePlaces:
    """Remembers who set each key, and finds its line when somebody asks.

    Args:
        recipe: Place of the recipe as a whole.
    """

    def __init__(self, recipe: str) -> None:
        self._recipe = recipe
        self._texts: dict[str, str] = {}
        self._keys: dict[str, str] = {}

    def add_file(self, file: str, text: str) -> None:
        """Keep a file's text, to find lines in."""
        self._texts[file] = text

    def note(self, name: str, place: str) -> None:
        """Note that a key such as 'train.epochs' has its value from that place."""
        self._keys[name] = place

    def note_section(self, name: str, place: str) -> None:
        """Note that a section is there because of that place, unless it was there before."""
        self._keys.setdefault(name, place)

    def forget(self, section: str) -> None:
        """Forget the keys of a section, whose values are gone."""
        for name in [name for name in self._keys if name.startswith(f"{section}.")]:
            del self._keys[name]

    def of(self, name: str) -> str:
        """Return where a key was set, or else the section or recipe that it is in."""
        while name:
            if name in self._keys:
                return self._with_line(name)
            name = name.rpartition(".")[0]
        return self._recipe

    def of_complaint(self, section: str, message: str) -> str:
        """Return where the keys were set that a message speaks of, else their section's place.

        Args:
            section: The section that it is about, '' for the whole recipe.
            message: It begins with a key of that section, or names keys with their sections.
        """
        return self.named_in(message, section) or self.of(section)

    def named_in(self, message: str, section: str = "") -> str:
        """Return where the keys were set that a message speaks of, '' if none of them was set."""
        found: dict[str, None] = {}
        for match in WORD.finditer(message):
            word, sign = match.groups()
            inside = f"{section}.{word}" if section else word
            is_key = "." in word or "_" in word or sign or match.start() == 0
            names = (inside, word) if is_key else ()
            name = next((name for name in names if name in self._keys), None)
            if name is not None and ("." in name or match.start() == 0):
                found[self._with_line(name)] = None
        return " and ".join(found)

    @contextmanager
    def pointed_out(self) -> Iterator[None]:
        """Let a recipe's errors begin with where the keys were set that they name."""
        try:
            yield
        except RecipeError as error:
            place = self.named_in(str(error))
            if not place:
                raise
            raise RecipeError(f"{place}: {error}") from error

    def _with_line(self, name: str) -> str:
        place = self._keys[name]
        line = line_of(self._texts.get(place, ""), name)
        return place if line is None else f"{place}:{line}"


def line_of(text: str, name: str) -> int | None:
    """Return the line of TOML, counted from 1, where a key such as 'train.epochs' is set.

    It is where that statement begins after which a parser first knows the key.

    Args:
        text: The file.
        name: The key, with its section; None is returned where it is not there.
    """
    lines, begin = text.split("\n"), 0
    for end in range(1, len(lines) + 1):
        try:
            values = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue  # in the middle of a value of several lines
        if _holds(values, name):
            while not lines[begin].strip() or lines[begin].lstrip().startswith("#"):
                begin += 1
            return begin + 1
        begin = end
    return None


def _holds(values: Mapping[str, Any], name: str) -> bool:
    found: object = values
    for key in name.split("."):
        if not isinstance(found, Mapping) or key not in found:
            return False
        found = found[key]
    return True
