"""Options that choose how maps are computed."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


METHOD_OPTIONS = ("method", "channels", "target_layer", "token_grid", "precision", "decode_threads")
"""Names of what `method_options` adds, which are fields of `RefreshOptions`."""


def method_options(function: Function) -> Function:
    """Add the options."""
    options = [
        click.option(
            "--method",
            type=click.Choice(["gradcam", "scorecam"]),
            default="gradcam",
            show_default=True,
            help="gradcam costs one forward pass, scorecam one for each channel of the layer.",
        ),
        click.option(
            "--channels",
            type=click.IntRange(min=1),
            metavar="K",
            help="With scorecam: use the K channels of largest variance. [default: all]",
        ),
        click.option(
            "--target-layer", metavar="NAME", help="Layer to explain. [default: found by itself]"
        ),
        click.option(
            "--token-grid",
            metavar="HxW",
            callback=_token_grid,
            help="Rows x columns of a transformer's patch tokens. [default: found by itself]",
        ),
        click.option(
            "--precision",
            type=click.Choice(["fp32", "bf16", "auto"]),
            default="fp32",
            show_default=True,
            help="Of the forward pass; auto is bf16 where the device has instructions for it.",
        ),
        click.option(
            "--decode-threads",
            type=click.IntRange(min=1),
            metavar="N",
            help="Images decoded at the same time by a process. [default: its cores]",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _token_grid(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    if value is None:
        return None
    height, _, width = value.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) * int(width) > 1):
        raise click.BadParameter(f"must be rows x columns such as 14x14, got {value!r}")
    return int(height), int(width)
