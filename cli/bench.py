"""`scae bench`: the commands that time the product beside its rivals and its limits."""

import click

from cli.lazy_group import LazyGroup

COMMANDS = {
    "refresh": ("cli.bench_refresh", "bench_refresh_command", "Maps a second beside rivals."),
    "loader": ("cli.bench_loader", "bench_loader_command", "Training batches beside rivals."),
}
"""Command -> its module, its function, and its line in the list of commands."""


@click.group("bench", cls=LazyGroup, lazy_commands=COMMANDS)
def bench_group() -> None:
    """Time the product beside its rivals and its limits, in interleaved rounds of one run.

    \b
    Examples:
      scae bench refresh
      scae bench loader --data ~/imagenet/val
    """  # noqa: D301  # click wants the character, not two
