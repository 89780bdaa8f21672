"""`scae cache verify`: check every byte of a cache."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cache_store.wording import counted
from cli.commands import UserErrorCommand
from cli.error_boundary import EXIT_FAILED

if TYPE_CHECKING:
    from cache_store.verify import CacheReport


@click.command("verify", cls=UserErrorCommand)
@click.argument("cache", metavar="CACHE")
@click.option("--generation", type=click.IntRange(min=1), help="Check this one and what it shares.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Objects read at the same time.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def verify_command(*, cache: str, generation: int | None, threads: int, as_json: bool) -> None:
    """Account for every byte below CACHE: name what is damaged, missing or foreign.

    Harmless while jobs read and write. Leftovers of jobs that were killed are listed, but are no
    damage: gc removes them. Exit codes: 0 nothing damaged or foreign, 1 something is.

    \b
    Examples:
      scae cache verify maps.zarr
      scae cache verify s3://bucket/maps.zarr --generation 7 --threads 32
    """  # noqa: D301  # click wants the character, not two
    from cache_store.verify import verify_cache

    asked = None if generation is None else [generation]
    report = verify_cache(cache, generations=asked, threads=threads)
    if as_json:
        click.echo(json.dumps({"ok": report.ok, **asdict(report)}))
    else:
        _print(report, cache)
    if not report.ok:
        click.get_current_context().exit(EXIT_FAILED)


def _print(report: "CacheReport", cache: str) -> None:
    lines = [f"damaged       {why}" for why in report.damaged.values()]
    lines += [f"foreign       {key}" for key in report.foreign]
    lines += [f"unverifiable  {key}" for key in report.unverifiable]
    lines += [f"leftover      {key}" for key in report.leftovers]
    for line in lines:
        click.echo(line)
    counts = {"damaged": report.damaged, "foreign": report.foreign}
    counts |= {"unverifiable": report.unverifiable, "leftovers": report.leftovers}
    found = ", ".join(f"{len(keys)} {name}" for name, keys in counts.items() if keys)
    click.echo(
        f"{counted(report.checked, 'object')} checked: {found or 'all are as they were written'}"
    )
    if report.damaged:
        click.echo(f"'scae cache repair {cache}' computes again what is damaged")
    if report.leftovers:
        click.echo(f"'scae cache gc {cache} --keep 2' removes leftovers")
