"""The `scae` command group. Commands are imported when they are called, so that help is quick."""

import importlib

import click

COMMANDS = {
    "refresh": ("cli.refresh", "refresh_command", "Make the saliency maps of a data set."),
    "train": ("cli.train", "train_command", "Train a network that erases by its own maps."),
    "preview": ("cli.preview", "preview_command", "Draw images, maps and sampled rectangles."),
    "cache": ("cli.cache", "cache_group", "Look into a cache."),
}
"""Command -> its module, its function, and its line in the list of commands."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order of a user's work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, name, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="scae", prog_name="scae")
def main() -> None:
    """Saliency caches that feed training.

    A refresh keeps Grad-CAM maps of a whole data set in a Zarr cache; the training loader places
    erasing rectangles by them (SCAE).
    """
