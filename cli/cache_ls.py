"""`scae cache ls`: list a cache's generations."""

import json
from typing import Any

import click

from cli.commands import UserErrorCommand


@click.command("ls", cls=UserErrorCommand)
@click.argument("cache", metavar="CACHE")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def ls_command(*, cache: str, as_json: bool) -> None:
    """List the generations of CACHE, oldest first, a line each.

    Number, time of publication, epoch of the weights, network, bytes of its own objects, digest.
    Unfinished ones show how many of their blocks are done.

    \b
    Example:
      scae cache ls maps.zarr
    """  # noqa: D301  # click wants the character, not two
    from cache_store.info import list_generations

    rows = list_generations(cache)
    if as_json:
        click.echo(json.dumps(rows))
    elif not rows:
        click.echo("no generation yet: run 'scae refresh'")
    else:
        _print_table([_cells(row) for row in rows])


def _cells(row: dict[str, Any]) -> list[str]:
    state = row["state"]
    when = row["published_at"] or state
    if state == "unfinished":
        when = f"unfinished, {row['done']:.0%} done"
    return [
        str(row["number"]),
        when,
        "-" if row["epoch"] is None else str(row["epoch"]),
        row["network"] or "-",
        "-" if row["bytes"] is None else f"{row['bytes']:,}",
        "-" if row["digest"] is None else row["digest"][:12],
    ]


def _print_table(rows: list[list[str]]) -> None:
    table = [["number", "published", "epoch", "network", "bytes", "digest"], *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        click.echo("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip())
