"""Options that several commands about a cache share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cli.commands import data_options

Function = TypeVar("Function", bound=Callable[..., Any])


def optional_data_options(function: Function) -> Function:
    """Add the options that choose a data set, for commands that often need none."""
    decorated = data_options(function)
    parameters: list[click.Parameter] = decorated.__click_params__  # type: ignore[attr-defined]
    for parameter in parameters:
        if parameter.name == "data":
            parameter.required = False
    return decorated
