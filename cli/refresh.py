"""`scae refresh`: make the maps of a data set and publish them as a generation."""

import json
from typing import TYPE_CHECKING, Any

import click

from cli.commands import UserErrorCommand, data_options, data_source, key_values, progress_bars
from cli.method_options import METHOD_OPTIONS, method_options

if TYPE_CHECKING:
    from pipeline.refresh.executors import Executor
    from pipeline.refresh.plan import RefreshOptions
    from pipeline.refresh.sources import NetworkSource


@click.command("refresh", cls=UserErrorCommand)
@data_options
@click.option("--cache", required=True, metavar="URL", help="Cache folder; made if not there.")
@click.option(
    "--network",
    required=True,
    metavar="NAME",
    help="resnet8 ... resnet110, resnet32x4, torchvision:NAME, timm:NAME, "
    "package.module:callable or path/to/file.py:callable.",
)
@click.option(
    "--weights", required=True, metavar="FILE|default|random", help="Weights of the network."
)
@click.option("--network-option", multiple=True, metavar="KEY=VALUE", help="Constructor argument.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of random weights.")
@method_options
@click.option("--size", type=click.IntRange(min=1), help="Side that images are squashed to.")
@click.option("--epoch", type=click.IntRange(min=0), help="Epoch of the weights, for the record.")
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--workers", type=click.IntRange(min=1), help="Run on a Dask cluster of N processes.")
@click.option("--scheduler", metavar="ADDRESS", help="Run on the Dask cluster at tcp://host:port.")
@click.option("--scheduler-file", type=click.Path(exists=True), help="The same, by its file.")
@click.option(
    "--on-error",
    type=click.Choice(["raise", "skip"]),
    default="raise",
    help="An unreadable image stops the refresh, or gets a flat map and is counted.",
)
@click.option("--no-fsync", is_flag=True, help="Do not wait for the disk: faster, not crash-proof.")
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def refresh_command(**options: Any) -> None:  # noqa: ANN401  # click hands over what is declared
    """Make the saliency maps of a whole data set and publish them as one generation.

    Stop it at any time and run it again: blocks that are done stay done. Exit codes: 0 done,
    1 failed, 2 wrong usage, 75 stopped and can be resumed.

    \b
    Examples:
      scae refresh --data shapes --cache maps.zarr --network resnet8 --weights random
      scae refresh --data ~/photos --cache maps.zarr --network torchvision:resnet50 \\
          --weights resnet50.pth --workers 4
    """  # noqa: D301  # click wants the character, not two
    from pipeline.refresh.job import execute
    from pipeline.refresh.plan import plan_refresh
    from pipeline.refresh.stopping import stop_on_signals
    from pipeline.refresh.summary import refresh_summary

    data = data_source(options)
    opened = data.open()
    network = _network_source(options, opened.num_classes)
    built = network.build()
    plan = plan_refresh(
        data, network, options["cache"], _refresh_options(options), opened=opened, built=built
    )
    click.echo(plan.summary(), err=not options["dry_run"])
    if options["dry_run"]:
        return
    executor = _executor(options)
    with stop_on_signals() as stop, progress_bars() as bars:
        report = execute(
            plan, executor, opened=opened, built=built, progress=bars("images"), stop=stop
        )
    summary = refresh_summary(report, opened)
    click.echo(json.dumps(summary.fields) if options["as_json"] else summary.text)


def _network_source(options: dict[str, Any], num_classes: int) -> "NetworkSource":
    from pipeline.refresh.sources import NetworkSource

    return NetworkSource(
        name=options["network"],
        num_classes=num_classes,
        weights=options["weights"],
        seed=options["seed"],
        options=key_values(options["network_option"], "--network-option"),
    )


def _refresh_options(options: dict[str, Any]) -> "RefreshOptions":
    from pipeline.refresh.plan import RefreshOptions

    names = (*METHOD_OPTIONS, "size", "epoch", "batch_size", "device", "on_error")
    return RefreshOptions(**{name: options[name] for name in names}, fsync=not options["no_fsync"])


def _executor(options: dict[str, Any]) -> "Executor | None":
    given = {name: options[name] for name in ("workers", "scheduler", "scheduler_file")}
    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise click.UsageError(f"only one of {' and '.join(named)} can be given")
    if not named:
        return None
    from pipeline.refresh.dask_executor import DaskExecutor

    return DaskExecutor(**given)
