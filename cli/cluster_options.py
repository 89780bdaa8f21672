"""Who computes: this process, an embedded Dask cluster, or one that is there."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from pipeline.refresh.executors import Executor

Function = TypeVar("Function", bound=Callable[..., Any])

PLACES = ("workers", "scheduler", "scheduler_file")
"""Options of which one can be given."""
TLS = ("tls_ca_file", "tls_cert", "tls_key")
"""Options that belong to a cluster that is there."""
SCHEDULER_OPTIONS = ("scheduler", "scheduler_file", *TLS)
"""Names of what `scheduler_options` adds, which are fields of `ClusterOptions`."""


def cluster_options(function: Function) -> Function:
    """Add the options that choose who computes."""
    options = [
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            help="Run on N processes of this machine; on GPUs one process each.",
        ),
        click.option(
            "--memory-limit",
            metavar="SIZE",
            help="Memory of one of them, such as 4GiB. [default: an equal share]",
        ),
    ]
    function = scheduler_options(function)
    for option in reversed(options):
        function = option(function)
    return function


def scheduler_options(function: Function) -> Function:
    """Add the options that name a cluster that is there."""
    file = click.Path(exists=True, dir_okay=False)
    options = [
        click.option(
            "--scheduler", metavar="ADDRESS", help="Run on the Dask cluster at tcp://host:8786."
        ),
        click.option(
            "--scheduler-file",
            type=click.Path(dir_okay=False),
            help="The same, by the file that the scheduler writes; waits for it for a minute.",
        ),
        click.option("--tls-ca-file", type=file, help="Authority of the cluster's certificates."),
        click.option("--tls-cert", type=file, help="Certificate to show to the cluster."),
        click.option("--tls-key", type=file, help="Key of that certificate."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def make_executor(options: dict[str, Any]) -> "Executor | None":
    """Return what `cluster_options` chose; None is this process.

    Raises:
        click.UsageError: If two places were named, or options without the place they belong to.
        RefreshError: If a value is out of range.
    """
    named = require_scheduler(options)
    _require(options, "memory_limit", named == ["workers"], "--workers")
    if not named:
        return None
    from pipeline.refresh.dask_cluster import ClusterOptions
    from pipeline.refresh.dask_executor import DaskExecutor

    given = {name: options[name] for name in (*PLACES, "memory_limit", *TLS)}
    return DaskExecutor(ClusterOptions(**given))


def require_scheduler(options: dict[str, Any]) -> list[str]:
    """Return which place was named, in a list of one or none.

    Raises:
        click.UsageError: If two places were named, or TLS files without a cluster that is there.
    """
    named = [name for name in PLACES if options.get(name) is not None]
    if len(named) > 1:
        raise click.UsageError(f"only one of {' and '.join(map(_word, named))} can be given")
    for name in TLS:
        _require(options, name, bool({"scheduler", "scheduler_file"} & set(named)), "--scheduler")
    return named


def _require(options: dict[str, Any], name: str, there: bool, other: str) -> None:  # noqa: FBT001
    if options[name] is not None and not there:
        raise click.UsageError(f"{_word(name)} has no effect without {other}")


def _word(name: str) -> str:
    return f"--{name.replace('_', '-')}"
