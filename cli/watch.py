"""`scae watch`: follow a run and keep its maps fresh."""

from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cli.cache_options import optional_data_options
from cli.cluster_options import cluster_options, make_executor
from cli.commands import UserErrorCommand, data_source, key_values
from cli.method_options import METHOD_OPTIONS, method_options
from cli.refresh_progress import EventLog
from cli.verbosity import is_quiet
from cli.word_types import NETWORK

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.refresh.watch_followed import Followed

LOOP_NEEDS = ("data", "cache", "epochs")
"""What only options can tell where there is no recipe."""
LOOP_OPTIONS = (
    *METHOD_OPTIONS, "data", "split", "imbalance", "subset_seed", "classes", "root", "download",
    "deep", "network_option", "size", "batch_size", "on_error", "epochs", "interval", "lambda_max",
    "pattern",
)  # fmt: skip
"""What a recipe tells otherwise."""
OUTCOMES = (
    "published", "done", "error", "doubtful", "no_report", "gc_failed", "heartbeat_failed",
)  # fmt: skip
"""Events that --quiet shows: what came of the work, and what went wrong."""


@click.command("watch", cls=UserErrorCommand)
@click.argument("run", metavar="RUN", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--cache", metavar="URL", help="Cache of maps. [default: maps.zarr in the run folder]"
)
@click.option("--until-done", is_flag=True, help="End when the last wanted epoch is published.")
@click.option(
    "--keep", type=click.IntRange(min=1), help="Newest generations that stay. [default: all]"
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="With --keep: what was in use less than this long ago stays too.",
)
@click.option(
    "--poll-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Time between two looks at the folder.",
)
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Serve Prometheus metrics.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Where to serve them.")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="The watcher's own folder, with heartbeat.json. [default: watch in RUN]",
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), help="[default: the recipe's]"
)
@cluster_options
@click.option(
    "--log-json",
    type=click.File("a", lazy=False),
    metavar="FILE",
    help="Append events as JSON lines, '-' to standard output.",
)
@click.option(
    "--network",
    type=NETWORK,
    metavar="NAME",
    help="Follow a training loop of your own: its network.",
)
@optional_data_options
@click.option("--network-option", multiple=True, metavar="KEY=VALUE", help="Constructor argument.")
@method_options
@click.option("--size", type=click.IntRange(min=1), help="Side that images are squashed to.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Images of a batch.",
)
@click.option(
    "--on-error", type=click.Choice(["raise", "skip"]), default="raise", help="As for scae refresh."
)
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of that loop in all.")
@click.option(
    "--interval",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="R: epochs between refreshes.",
)
@click.option("--lambda-max", type=float, default=2.0, show_default=True, help="As in its policy.")
@click.option(
    "--pattern",
    default="epoch-{epoch}.pt",
    show_default=True,
    help="Names of its checkpoints; {epoch} is 0-based.",
)
def watch_command(**options: Any) -> None:  # noqa: ANN401  # click hands over what is declared
    """Follow RUN and make new maps from each checkpoint that the refresh policy wants.

    RUN is a folder of 'scae train', whose recipe tells data, network and policy; it need not be
    there yet. With --network it is a folder of checkpoints of your own loop. Kill it at any moment
    and start it again: nothing is made twice, nothing is half there. Exit codes: 0 done, 1 failed,
    2 wrong usage, 75 stopped and can be started again.

    \b
    Examples:
      scae watch runs/lt
      scae watch runs/lt --keep 3 --metrics-port 9184 --until-done
      scae watch checkpoints --network my_network.py:build --data ~/photos --cache maps.zarr \\
          --epochs 90 --pattern "model_{epoch}.pt"
    """  # noqa: D301  # click wants the character, not two
    from pipeline.refresh.stopping import stop_on_signals
    from pipeline.refresh.watch import watch
    from pipeline.refresh.watch_options import WatchOptions

    _check_usage(options)
    run: Path = options["run"]
    is_loop = options["network"] is not None
    with stop_on_signals() as stop:
        watch(
            _follow_loop(options) if is_loop else _follow_run(options),
            WatchOptions(
                run=run,
                checkpoints=run if is_loop else run / "checkpoints",
                cache=options["cache"] or str(run / "maps.zarr"),
                state=options["state"] or run / "watch",
                log=_Lines(options["log_json"]),
                pattern=options["pattern"],
                executor=make_executor(options),
                keep=options["keep"],
                grace_seconds=options["grace"],
                poll_seconds=options["poll_seconds"],
                until_done=options["until_done"],
                metrics_host=options["metrics_host"],
                metrics_port=options["metrics_port"],
                stop=stop,
            ),
        )


def _check_usage(options: dict[str, Any]) -> None:
    def words(names: list[str]) -> str:
        return ", ".join(f"--{name.replace('_', '-')}" for name in names)

    if options["network"] is not None:
        missing = [name for name in LOOP_NEEDS if options[name] is None]
        if missing:
            raise click.UsageError(f"--network also needs {words(missing)}")
        return
    context = click.get_current_context()
    given = [
        name
        for name in LOOP_OPTIONS
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(
            f"{words(given)}: a run's recipe says that; for a loop of your own add --network"
        )


def _follow_run(options: dict[str, Any]) -> "Callable[[], Followed | None]":
    from pipeline.training.followed_run import followed_run

    return lambda: followed_run(options["run"], options["device"])


def _follow_loop(options: dict[str, Any]) -> "Callable[[], Followed | None]":
    from pipeline.refresh.plan import RefreshOptions
    from pipeline.refresh.sources import NetworkSource
    from pipeline.refresh.watch_followed import Followed, follow_policy

    def follow() -> Followed:
        source = data_source(options)
        opened = source.open()
        names = (*METHOD_OPTIONS, "size", "batch_size", "on_error")
        return Followed(
            data=source,
            opened=opened,
            network=NetworkSource(
                name=options["network"],
                num_classes=opened.num_classes,
                options=key_values(options["network_option"], "--network-option"),
            ),
            options=RefreshOptions(
                device=options["device"] or "auto", **{name: options[name] for name in names}
            ),
            policy=follow_policy(
                num_epochs=options["epochs"],
                interval=options["interval"],
                lambda_max=options["lambda_max"],
            ),
        )

    return follow


class _Lines:
    """Prints each step with its time, and appends it to a JSON log."""

    def __init__(self, file: IO[str] | None) -> None:
        self._events = EventLog(file)
        # JSON lines on standard output have it for themselves.
        self._prints = file is None or file.name != "<stdout>"

    def __call__(self, event: str, text: str, **fields: Any) -> None:  # noqa: ANN401  # JSON values
        if self._prints and (event in OUTCOMES or not is_quiet()):
            click.echo(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}")
        self._events.write(event, text=text, **fields)
