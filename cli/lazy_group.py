"""A group of commands that are imported when they are called, so that help is quick."""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from cli.error_boundary import errors_in_one_line
from cli.verbosity import verbosity_options

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
        self.params += verbosity_options()

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  # click's own signature
        """Find the command and run it; what goes wrong before it runs ends in one line too."""
        with errors_in_one_line(ctx):
            return super().invoke(ctx)

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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first word names, or say which one may have been meant."""
        word = args[0]
        if word in self._lazy_commands or word.startswith("-"):
            return super().resolve_command(ctx, args)
        near = self._near(ctx, word)
        hint = f"did you mean {' or '.join(near)}?" if near else "see the list in its --help"
        raise click.UsageError(f"{ctx.command_path} has no command {word!r}; {hint}", ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list["CompletionItem[str]"]:
        """Complete names of commands without importing them, and options."""
        commands = [
            CompletionItem(name, help=line)
            for name, (_, _, line) in self._lazy_commands.items()
            if name.startswith(incomplete)
        ]
        # Not the group's own way, which imports every command for its line of help.
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in self._lazy_commands.items()])

    def _near(self, ctx: click.Context, word: str) -> list[str]:
        """Return what may have been meant: commands of the same name in groups first."""
        groups = [self.get_command(ctx, name) for name in self._lazy_commands]
        inside = [
            f"{ctx.command_path} {group.name} {word}"
            for group in groups
            if isinstance(group, LazyGroup) and word in group._lazy_commands
        ]
        near = difflib.get_close_matches(word, self._lazy_commands, n=2)
        return [*inside, *(f"{ctx.command_path} {name}" for name in near)]
