"""`scae doctor`: is everything here that a job or a run will want?"""

import json
from typing import Any

import click

from cache_store.wording import counted
from cli.cluster_options import require_scheduler, scheduler_options
from cli.commands import UserErrorCommand
from cli.doctor_check import PROBLEM, WARNING, Check
from cli.error_boundary import EXIT_FAILED


@click.command("doctor", cls=UserErrorCommand)
@click.option("--cache", metavar="URL", help="Also check a cache: reading, writing, room.")
@scheduler_options
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def doctor_command(*, cache: str | None, as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Check this machine, and if named a cache and a Dask cluster; say what to do about it.

    A line a check: ok, warning (slower, or a part is missing) or problem (jobs will fail). What is
    written for a check is removed again. Exit codes: 0 no problem, 1 a problem, 2 wrong usage.

    \b
    Examples:
      scae doctor
      scae doctor --cache s3://bucket/maps --scheduler tcp://node1:8786
      srun -N 2 scae doctor --cache /scratch/maps.zarr --json
    """  # noqa: D301  # click wants the character, not two
    require_scheduler(options)
    from cli.doctor_cache import cache_checks
    from cli.doctor_dask import dask_checks
    from cli.doctor_machine import machine_checks
    from cli.doctor_versions import version_checks

    checks = [*version_checks(), *machine_checks(), *cache_checks(cache), *dask_checks(options)]
    problems = sum(check.status == PROBLEM for check in checks)
    if as_json:
        fields = [check.as_dict() for check in checks]
        click.echo(json.dumps({"ok": not problems, "checks": fields}))
    else:
        for line in _lines(checks):
            click.echo(line)
    if problems:
        raise SystemExit(EXIT_FAILED)


def _lines(checks: list[Check]) -> list[str]:
    width = max(len(check.name) for check in checks)
    lines = [
        f"{check.status:<8} {check.name:<{width}}  {check.found}"
        + (f"; {check.cure}" if check.cure else "")
        for check in checks
    ]
    counts = {name: sum(check.status == name for check in checks) for name in (WARNING, PROBLEM)}
    told = [counted(count, name) for name, count in counts.items()]
    return [*lines, ", ".join([counted(len(checks), "check"), *told])]
