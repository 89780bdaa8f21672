"""The values of a recipe before they are checked: files that extend others, then overrides."""

import difflib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from loaders.methods.scae import ScaeOptions
from pipeline.errors import RecipeError
from pipeline.training.recipe_places import COMMAND_LINE, RecipePlaces, line_of

EXTENDS = "extends"
"""Key of a recipe file that names the file it begins with, relative to its own folder."""
RECIPES = Path("recipes")
"""Folder of the project's recipes, seen from its root: a bare name may be meant to be there."""
LISTED = 6
"""Up to this many recipes are listed where one is not found."""

Values = dict[str, Any]


class RecipeLayers:
    """TOML values laid over each other, that remember where each of them came from.

    Args:
        path: The recipe file; None begins with nothing.

    Raises:
        RecipeError: If a file can't be read, or extends itself.
    """

    def __init__(self, path: Path | None) -> None:
        self.values: Values = {}
        self.places = RecipePlaces(COMMAND_LINE if path is None else str(path))
        for file, text, values in [] if path is None else _chain(path):
            self.places.add_file(str(file), text)
            self._lay(self.values, values, str(file))

    def override(self, words: Sequence[str]) -> None:
        """Lay words such as `train.epochs=3` over the values.

        Raises:
            RecipeError: If a word is not key=value.
        """
        for word in words:
            self._lay(self.values, _word_values(word), COMMAND_LINE)

    def change(self, edit: Callable[[Values], Values], place: str) -> None:
        """Replace the values by what a function makes of them; `place` is told of what it sets."""
        before = _leaves(self.values)
        self.values = edit(self.values)
        for name, value in _leaves(self.values).items():
            if name not in before or before[name] != value:
                self.places.note(name, place)

    def _lay(self, under: Values, layer: Mapping[str, Any], place: str, prefix: str = "") -> None:
        for key, value in layer.items():
            name = f"{prefix}{key}"
            if name == "augment" and _other_method(under.get(key), value):
                under.pop(key, None)  # options belong to their method
                self.places.forget(name)
            if isinstance(value, Mapping):
                self.places.note_section(name, place)
                if not isinstance(under.get(key), dict):
                    under[key] = {}
                self._lay(under[key], value, place, f"{name}.")
            else:
                under[key] = value
                self.places.note(name, place)


def _leaves(values: Values, prefix: str = "") -> dict[str, Any]:
    """Return the values that are no sections, by their whole names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _leaves(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _other_method(before: object, layer: object) -> bool:
    """Tell whether a layer of [augment] names another method than there was."""
    if not isinstance(layer, Mapping) or "method" not in layer:
        return False
    method = before.get("method") if isinstance(before, dict) else None
    return bool(layer["method"] != (method or ScaeOptions.name))


def _chain(path: Path) -> list[tuple[Path, str, Values]]:
    """Return a recipe's files with text and values, the one that extends none first."""
    chain: list[tuple[Path, str, Values]] = []
    seen: list[Path] = []
    while True:
        text, values = _read(path, seen[-1] if seen else None)
        seen.append(path)
        base = values.pop(EXTENDS, None)
        chain.insert(0, (path, text, values))
        if base is None:
            return chain
        if not isinstance(base, str):
            place = f"{path}:{line_of(text, EXTENDS)}"
            raise RecipeError(f"{place}: {EXTENDS} must be the path of a recipe, got {base!r}")
        path = path.parent / base
        if any(path.resolve() == other.resolve() for other in seen):
            raise RecipeError(
                f"{seen[0]}: recipes extend each other in a circle: "
                f"{' -> '.join(str(file) for file in [*seen, path])}"
            )


def _read(path: Path, extended_by: Path | None) -> tuple[str, Values]:
    try:
        text = path.read_text()
        return text, tomllib.loads(text)
    except FileNotFoundError as error:
        why = f", which {extended_by} extends" if extended_by else ""
        raise RecipeError(f"no recipe {path}{why}; {_others(path)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"can't read recipe {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error


def _others(path: Path) -> str:
    """Return what may have been meant, or some of what is there.

    A bare name may be that of a recipe in the folder of recipes: paths stay the one way to name
    one, since that is what a sweep's records and a run's log refer to.
    """
    places = [path.parent] if path.parent.parts else [path.parent, RECIPES]
    files = [file for place in places for file in sorted(place.glob("*.toml"))]
    stems = dict.fromkeys(file.stem for file in files)
    near = difflib.get_close_matches(path.stem, stems, LISTED // 2)
    near = [path.stem] if path.stem in stems else near
    meant = [str(file) for name in near for file in files if file.stem == name]
    if meant:
        return f"did you mean {', '.join(meant[: LISTED // 2])}?"
    more = f" and {len(files) - LISTED} more" if len(files) > LISTED else ""
    listed = ", ".join(map(str, files[:LISTED])) or "none"
    return f"recipes in that folder: {listed}{more}"


def _word_values(word: str) -> Values:
    name, equals, text = word.partition("=")
    if not equals or not name:
        raise RecipeError(f"--set must be key=value, such as train.epochs=3, got {word!r}")
    values: Any = _parse(text)
    for key in reversed(name.strip().split(".")):
        values = {key: values}
    return dict(values)


def _parse(text: str) -> Any:  # noqa: ANN401  # any TOML value
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word: names and paths need no quotes on a command line
