"""`scae cache`: the commands about one cache."""

import click

from cli.lazy_group import LazyGroup

COMMANDS = {
    "info": ("cli.cache_info", "info_command", "Say what it holds and what that is from."),
    "ls": ("cli.cache_ls", "ls_command", "List its generations, a line each."),
    "verify": ("cli.cache_verify", "verify_command", "Check every byte of it."),
    "repair": ("cli.cache_repair", "repair_command", "Compute again what is damaged."),
    "gc": ("cli.cache_gc", "gc_command", "Remove old generations and leftovers."),
    "export": ("cli.cache_export", "export_command", "Write a generation as one .npz file."),
    "diff": ("cli.cache_diff", "diff_command", "Say how far two generations lie apart."),
}
"""Command -> its module, its function, and its line in the list of commands."""


@click.group("cache", cls=LazyGroup, lazy_commands=COMMANDS)
def cache_group() -> None:
    """Look into a cache, check it, repair it, tidy up.

    \b
    Examples:
      scae cache info maps.zarr
      scae cache verify s3://bucket/maps
    """  # noqa: D301  # click wants the character, not two
