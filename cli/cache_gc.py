"""`scae cache gc`: remove old generations and leftovers."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cache_store.wording import counted
from cli.commands import UserErrorCommand

if TYPE_CHECKING:
    from cache_store.collect import GcReport
    from cache_store.resident import ResidentGcReport


@click.command("gc", cls=UserErrorCommand)
@click.argument("cache", metavar="CACHE")
@click.option(
    "--keep", type=click.IntRange(min=1), required=True, help="Newest generations that stay."
)
@click.option("--dry-run", is_flag=True, help="Print what would be removed and remove nothing.")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="What was in use less than this long ago stays.",
)
@click.option("--resident", is_flag=True, help="Remove unused resident maps of this node as well.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def gc_command(
    *, cache: str, keep: int, dry_run: bool, grace: float, resident: bool, as_json: bool
) -> None:
    """Remove old generations of CACHE, and what jobs that were killed left behind.

    Never the newest generation, nor one that a running job has leased, nor anything younger than
    the grace period by the store's own clock.

    \b
    Examples:
      scae cache gc maps.zarr --keep 2 --dry-run
      scae cache gc maps.zarr --keep 1 --resident
    """  # noqa: D301  # click wants the character, not two
    from cache_store.resident import collect_resident
    from cache_store.store import SaliencyStore

    store = SaliencyStore.open(cache, "r+")
    report = store.gc(keep=keep, dry_run=dry_run, grace_seconds=grace)
    files = collect_resident(dry_run=dry_run) if resident else None
    if as_json:
        fields = {**asdict(report), "resident": None}
        if files is not None:
            fields["resident"] = {
                "removed": [str(path) for path in files.removed],
                "held": {str(path): why for path, why in files.held.items()},
                "freed_bytes": files.freed_bytes,
            }
        click.echo(json.dumps(fields))
        return
    _print(report)
    if files is not None:
        _print_files(files)


def _print(report: "GcReport") -> None:
    for number, why in report.held.items():
        click.echo(f"generation {number} stays: {why}")
    removed = _removed(dry_run=report.dry_run)
    for number in report.generations:
        click.echo(f"{removed} generation {number}")
    click.echo(
        f"{removed} {counted(len(report.removed), 'object')}, {counted(report.freed_bytes, 'byte')}"
    )


def _print_files(report: "ResidentGcReport") -> None:
    for path, why in report.held.items():
        click.echo(f"{path} stays: {why}")
    for path in report.removed:
        click.echo(f"{_removed(dry_run=report.dry_run)} {path}")
    removed = _removed(dry_run=report.dry_run)
    files, room = counted(len(report.removed), "resident file"), counted(report.freed_bytes, "byte")
    click.echo(f"{removed} {files}, {room}")


def _removed(*, dry_run: bool) -> str:
    return "would remove" if dry_run else "removed"
