"""Reading recipes: TOML file and `--set key=value` words, checked key by key and type by type."""

import difflib
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from loaders.errors import OptionError
from loaders.methods.method import MethodOptions
from loaders.methods.registry import METHODS
from loaders.methods.scae import ScaeOptions
from pipeline.errors import RecipeError
from pipeline.training.recipe import Recipe


def load_recipe(path: str | Path | None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply overrides.

    Args:
        path: TOML file; None begins with the defaults.
        overrides: Words such as `train.epochs=3`; the value is TOML, or a bare string. Another
            `augment.method` than before drops the options of the one before.

    Raises:
        RecipeError: If the file can't be read, or a key or value is not allowed.
    """
    place = "the command line" if path is None else str(path)
    values = {} if path is None else _read(Path(path))
    for override in overrides:
        _apply(values, override)
    try:
        return typing.cast(Recipe, _build(Recipe, values, "", place))
    except OptionError as error:
        raise RecipeError(f"{place}: [augment] {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        near = sorted(path.parent.glob("*.toml")) if path.parent.is_dir() else []
        have = ", ".join(str(other) for other in near) or "none"
        raise RecipeError(f"no recipe {path}; recipes in that folder: {have}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"can't read recipe {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error


def _apply(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise RecipeError(f"--set must be key=value, such as train.epochs=3, got {override!r}")
    *sections, key = name.strip().split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise RecipeError(f"--set {override}: {section} is not a section")
    value = _parse(text)
    # Options belong to their method: another one begins with its own defaults.
    if name.strip() == "augment.method" and values.get("method", ScaeOptions.name) != value:
        values.clear()
    values[key] = value


def _parse(text: str) -> Any:  # noqa: ANN401  # any TOML value
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word: names and paths need no quotes on a command line


def _build(cls: type, values: Mapping[str, Any], section: str, place: str) -> object:
    hints = typing.get_type_hints(cls)
    known = [item.name for item in fields(cls)]
    checked = {}
    for key, value in values.items():
        name = f"{section}.{key}" if section else key
        if key not in known:
            raise RecipeError(_unknown_key(name, key, known, section, place))
        hint = hints[key]
        if hint is MethodOptions:
            checked[key] = _build_method(value, name, place)
        elif is_dataclass(hint) and isinstance(hint, type):
            if not isinstance(value, Mapping):
                raise RecipeError(f"{place}: {name} must be a section [{name}], got {value!r}")
            checked[key] = _build(hint, value, name, place)
        else:
            checked[key] = _converted(value, hint, name, place)
    try:
        return cls(**checked)
    except RecipeError as error:
        raise RecipeError(f"{place}: {f'[{section}] ' if section else ''}{error}") from error


def _build_method(values: Any, section: str, place: str) -> object:  # noqa: ANN401
    """Return the options of the method that a section names."""
    if not isinstance(values, Mapping):
        raise RecipeError(f"{place}: {section} must be a section [{section}], got {values!r}")
    options = dict(values)
    method = options.pop("method", ScaeOptions.name)
    if method not in METHODS:
        near = difflib.get_close_matches(str(method), METHODS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise RecipeError(
            f"{place}: {section}.method must be one of {', '.join(METHODS)}, got {method!r}{hint}"
        )
    options_class: Any = METHODS[method]
    known = [item.name for item in fields(options_class)]
    for key in options:
        if key not in known:
            wrong = _unknown_key(f"{section}.{key}", key, known, section, place)
            raise RecipeError(f"{wrong} (method {method})")
    return _build(METHODS[method], options, section, place)


def _unknown_key(name: str, key: str, known: list[str], section: str, place: str) -> str:
    near = difflib.get_close_matches(key, known, 1)
    prefix = f"{section}." if section else ""
    hint = f"did you mean {prefix}{near[0]}?" if near else f"known keys: {', '.join(known)}"
    return f"{place}: unknown recipe key {name}; {hint}"


def _converted(value: Any, hint: Any, name: str, place: str) -> Any:  # noqa: ANN401
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in args:
            raise RecipeError(
                f"{place}: {name} must be one of {', '.join(map(str, args))}, got {value!r}"
            )
        return value
    if origin in (types.UnionType, typing.Union):
        return _converted(value, _member(value, args), name, place)
    if origin is tuple:
        if args[1:] == (Ellipsis,) and isinstance(value, list):
            args = args[:1] * len(value)
        if not isinstance(value, list) or len(value) != len(args):
            raise RecipeError(f"{place}: {name} must be a list of {len(args)}, got {value!r}")
        return tuple(
            _converted(item, arg, name, place) for item, arg in zip(value, args, strict=True)
        )
    expected = origin or hint
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    # TOML's booleans are Python ints too: true is no number of epochs.
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise RecipeError(f"{place}: {name} must be {_type_name(expected)}, got {value!r}")
    return value


def _member(value: Any, members: tuple[Any, ...]) -> Any:  # noqa: ANN401
    """Return the member of a union that a TOML value is of, else the first one."""
    wanted: Any = tuple if isinstance(value, list) else Literal if isinstance(value, str) else None
    members = tuple(member for member in members if member is not type(None))
    return next(
        (one for one in members if wanted is not None and get_origin(one) is wanted), members[0]
    )


def _type_name(expected: type) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return names.get(expected, "a table")
