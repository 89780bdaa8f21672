"""Refusing a recipe's values in one form of words."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pipeline.errors import RecipeError


def require(name: str, holds: bool, allowed: str, value: object) -> None:  # noqa: FBT001
    """Raise RecipeError unless `holds`: '`name` must be `allowed`, got `value`'."""
    if not holds:
        raise RecipeError(f"{name} must be {allowed}, got {value!r}")


def refuse_unused(
    section: Any,  # noqa: ANN401  # a dataclass
    what: str,
    used_by: Mapping[str, tuple[str, ...]],
    *,
    choice: str = "name",
) -> None:
    """Refuse settings that the section's choice does not look at: they would silently do nothing.

    Args:
        section: The section.
        what: What messages call the choice.
        used_by: The choices that look at a field; fields that are not listed are for all.
        choice: The field that says what was chosen.

    Raises:
        RecipeError: If such a field differs from its default.
    """
    chosen = getattr(section, choice)
    for item in fields(section):
        users = used_by.get(item.name, (chosen,))
        if chosen not in users and getattr(section, item.name) != item.default:
            raise RecipeError(
                f"{item.name} must be left out with {what} {chosen!r}, where it would do "
                f"nothing: it belongs to {', '.join(users)}"
            )
