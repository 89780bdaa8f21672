"""A group of commands that are imported when they are called, so that help is quick."""

import importlib
from collections.abc import Mapping
from typing import Any

import click

Commands = Mapping[str, tuple[str, str, str]]
"""Command -> its module, its function, and its line in the list of commands."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called.

    Args:
        lazy_commands: The commands in the order of a user's work.
    """

    def __init__(self, *args: Any, lazy_commands: Commands, **keywords: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **keywords)
        self._lazy_commands = lazy_commands

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands."""
        return list(self._lazy_commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in self._lazy_commands:
            return None
        module, name, _ = self._lazy_commands[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in self._lazy_commands.items()])
