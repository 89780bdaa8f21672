"""Reading recipes: TOML file and `--set key=value` words, checked key by key and type by type."""

import difflib
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
from pipeline.training.debug_form import debug_form
from pipeline.training.recipe import Recipe
from pipeline.training.recipe_layers import RecipeLayers
from pipeline.training.recipe_places import RecipePlaces


def load_recipe(
    path: str | Path | None, overrides: Sequence[str] = (), *, debug: bool = False
) -> Recipe:
    """Read a recipe with all that it extends, and apply overrides.

    Args:
        path: TOML file; None begins with the defaults.
        overrides: Words such as `train.epochs=3`; the value is TOML, or a bare string. Another
            `augment.method` than before drops the options of the one before.
        debug: Take the recipe's debug form, see `debug_form`; overrides come after it.

    Raises:
        RecipeError: If the file can't be read, or a key or value is not allowed.
    """
    return load_with_places(path, overrides, debug=debug)[0]


def load_with_places(
    path: str | Path | None, overrides: Sequence[str] = (), *, debug: bool = False
) -> tuple[Recipe, RecipePlaces]:
    """Read a recipe as `load_recipe` does, and return where its keys were set, too."""
    layers = RecipeLayers(None if path is None else Path(path))
    if debug:
        layers.change(debug_form, "the debug form")
    layers.override(overrides)
    return typing.cast(Recipe, _build(Recipe, layers.values, "", layers)), layers.places


def _build(cls: type, values: Mapping[str, Any], section: str, layers: RecipeLayers) -> object:
    hints = typing.get_type_hints(cls)
    known = [item.name for item in fields(cls)]
    checked = {}
    for key, value in values.items():
        name = f"{section}.{key}" if section else key
        if key not in known:
            raise RecipeError(_unknown_key(name, key, known, section, layers))
        hint = hints[key]
        if hint is MethodOptions:
            checked[key] = _build_method(value, name, layers)
        elif is_dataclass(hint) and isinstance(hint, type):
            if not isinstance(value, Mapping):
                raise RecipeError(_no_section(name, value, layers))
            checked[key] = _build(hint, value, name, layers)
        else:
            checked[key] = _converted(value, hint, name, layers.places.of(name))
    try:
        return cls(**checked)
    except (RecipeError, OptionError) as error:
        place = layers.places.of_complaint(section, str(error))
        raise RecipeError(f"{place}: {f'[{section}] ' if section else ''}{error}") from error


def _build_method(values: Any, section: str, layers: RecipeLayers) -> object:  # noqa: ANN401
    """Return the options of the method that a section names."""
    if not isinstance(values, Mapping):
        raise RecipeError(_no_section(section, values, layers))
    options = dict(values)
    method = options.pop("method", ScaeOptions.name)
    if method not in METHODS:
        near = difflib.get_close_matches(str(method), METHODS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        place = layers.places.of(f"{section}.method")
        allowed = ", ".join(METHODS)
        raise RecipeError(
            f"{place}: {section}.method must be one of {allowed}, got {method!r}{hint}"
        )
    options_class: Any = METHODS[method]
    known = [item.name for item in fields(options_class)]
    for key in options:
        if key not in known:
            wrong = _unknown_key(f"{section}.{key}", key, known, section, layers)
            raise RecipeError(f"{wrong} (method {method})")
    return _build(METHODS[method], options, section, layers)


def _no_section(name: str, value: object, layers: RecipeLayers) -> str:
    return f"{layers.places.of(name)}: {name} must be a section [{name}], got {value!r}"


def _unknown_key(name: str, key: str, known: list[str], section: str, layers: RecipeLayers) -> str:
    near = difflib.get_close_matches(key, known, 1)
    prefix = f"{section}." if section else ""
    hint = f"did you mean {prefix}{near[0]}?" if near else f"known keys: {', '.join(known)}"
    return f"{layers.places.of(name)}: unknown recipe key {name}; {hint}"


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
