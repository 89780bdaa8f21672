"""`scae refresh`: make the maps of a data set and publish them as a generation."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

import click

from cache_store.wording import counted
from cli.cluster_options import cluster_options, make_executor
from cli.commands import UserErrorCommand, data_options, data_source, key_values
from cli.error_boundary import EXIT_RESUMABLE
from cli.method_options import METHOD_OPTIONS, method_options
from cli.refresh_dry_run import dry_run
from cli.refresh_progress import EventLog, refresh_progress
from cli.verbosity import say
from cli.word_types import NETWORK

if TYPE_CHECKING:
    from loaders.image_data import ImageData
    from pipeline.refresh.executors import Executor
    from pipeline.refresh.part import Part
    from pipeline.refresh.parts import PartReport
    from pipeline.refresh.plan import RefreshOptions, RefreshPlan
    from pipeline.refresh.sources import NetworkSource
    from pipeline.saliency.networks import BuiltNetwork


def _read_part(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> "Part | None":
    from pipeline.errors import RefreshError
    from pipeline.refresh.part import Part

    try:
        return None if text is None else Part.parse(text)
    except RefreshError as error:
        raise click.BadParameter(str(error)) from error


@click.command("refresh", cls=UserErrorCommand)
@data_options
@click.option("--cache", required=True, metavar="URL", help="Cache folder; made if not there.")
@click.option(
    "--network",
    type=NETWORK,
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
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Images of a batch; part of the plan.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    help="auto: a GPU if there is one.",
)
@click.option(
    "--block-rows",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Images of a block, the unit of work and of resuming: up to 256, or a multiple of it.",
)
@cluster_options
@click.option(
    "--part",
    metavar="K/N",
    callback=_read_part,
    help="Compute the K-th of N parts and publish nothing.",
)
@click.option("--finalize", is_flag=True, help="Publish what the parts have computed.")
@click.option(
    "--parts",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --finalize: their number, to name those that are missing.",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="How often a block that failed is tried again.",
)
@click.option(
    "--on-error",
    type=click.Choice(["raise", "skip"]),
    default="raise",
    help="An unreadable image fails its block, or gets a flat map and is counted.",
)
@click.option("--no-fsync", is_flag=True, help="Do not wait for the disk: faster, not crash-proof.")
@click.option("--dry-run", is_flag=True, help="Time a batch, print the plan and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option(
    "--log-json",
    type=click.File("a", lazy=False),
    metavar="FILE",
    help="Append events as JSON lines, '-' to standard output.",
)
def refresh_command(**options: Any) -> None:  # noqa: ANN401  # click hands over what is declared
    """Make the saliency maps of a whole data set and publish them as one generation.

    Stop it at any time and run it again: blocks that are done stay done. Exit codes: 0 done,
    1 failed (nothing is published, the other blocks are done), 2 wrong usage, 75 stopped and can
    be resumed.

    \b
    Examples:
      scae refresh --data shapes --cache maps.zarr --network resnet8 --weights random
      scae refresh --data ~/photos --cache maps.zarr --network torchvision:resnet50 \\
          --weights resnet50.pth --workers 4
      scae refresh ... --part 3/20, each part anywhere and at any time, then
      scae refresh ... --finalize --parts 20
    """  # noqa: D301  # click wants the character, not two
    _check_usage(options)
    from pipeline.refresh.stopping import handle_stop_signals

    with handle_stop_signals(_end_planning):
        executor = make_executor(options)  # first: it tells at once of options that don't fit
        from pipeline.refresh.plan import plan_refresh

        data = data_source(options)
        opened = data.open()
        network = _network_source(options, opened.num_classes)
        built = network.build()
        plan = plan_refresh(
            data, network, options["cache"], _refresh_options(options), opened=opened, built=built
        )
        if options["dry_run"]:
            dry_run(plan, opened, built, options)
            return
    say(plan.summary())
    with _event_log(options["log_json"], plan) as log:
        _run(plan, opened, built, executor, options, log)


def _end_planning(signum: int, _frame: FrameType | None) -> None:
    name = signal.Signals(signum).name
    message = f"Error: stopped by {name} before anything was computed: run the same command again"
    click.echo(message, err=True)
    # Not an error class: what builds a user's network or data set would catch that.
    raise SystemExit(EXIT_RESUMABLE)


def _check_usage(options: dict[str, Any]) -> None:
    for word in ("part", "dry_run"):
        if options["finalize"] and options[word]:
            other = f"--{word.replace('_', '-')}"
            raise click.UsageError(f"only one of {other} and --finalize can be given")
    if options["parts"] is not None and not options["finalize"]:
        raise click.UsageError("--parts has no effect without --finalize")


def _run(
    plan: "RefreshPlan",
    opened: "ImageData",
    built: "BuiltNetwork",
    executor: "Executor | None",
    options: dict[str, Any],
    log: EventLog,
) -> None:
    from pipeline.refresh.job import execute
    from pipeline.refresh.parts import execute_part, finalize
    from pipeline.refresh.stopping import stop_on_signals
    from pipeline.refresh.summary import refresh_summary

    part: Part | None = options["part"]
    if options["finalize"]:
        report = finalize(plan, built=built, num_parts=options["parts"])
    else:
        with stop_on_signals() as stop, refresh_progress(log) as show:
            if part is not None:
                done = execute_part(
                    plan, part, executor, opened=opened, built=built, progress=show, stop=stop
                )
                _tell(_part_text(done, part), _part_fields(done, part), "part", options, log)
                return
            report = execute(plan, executor, opened=opened, built=built, progress=show, stop=stop)
    summary = refresh_summary(report, opened)
    _tell(summary.text, summary.fields, "published", options, log)


def _tell(
    text: str, fields: dict[str, Any], event: str, options: dict[str, Any], log: EventLog
) -> None:
    log.write(event, **fields)
    click.echo(json.dumps(fields) if options["as_json"] else text)


@contextmanager
def _event_log(file: IO[str] | None, plan: "RefreshPlan") -> Iterator[EventLog]:
    """Give the log, and tell it how the job began, and why it ended if it did not get there."""
    from cache_store.errors import ScaeError
    from pipeline.errors import BlocksFailed, Stopped

    log = EventLog(file)
    log.write(
        "start",
        cache=plan.cache,
        images=plan.generation.num_samples,
        blocks=len(plan.blocks),
        plan=plan.generation.digest(),
    )
    try:
        yield log
    except Stopped as error:
        log.write("stopped", message=str(error))
        raise
    except BlocksFailed as error:
        for failure in error.failures:
            log.write(
                "block_failed",
                block=failure.block,
                attempts=failure.attempts,
                message=failure.error,
            )
        log.write("failed", message=str(error))
        raise
    except ScaeError as error:
        log.write("failed", message=str(error))
        raise


def _part_text(report: "PartReport", part: "Part") -> str:
    if report.published:
        return f"generation {report.generation} is published already; nothing was computed"
    computed = report.num_rows - report.num_rows_found
    blocks, images = counted(report.num_blocks, "block"), counted(computed, "image")
    return (
        f"part {part} of generation {report.generation} is done: {blocks}, {images} computed in "
        f"{report.seconds:.1f} s, {report.num_rows_found} found"
    )


def _part_fields(report: "PartReport", part: "Part") -> dict[str, Any]:
    return {
        "part": str(part),
        "generation": report.generation,
        "published": report.published,
        "blocks": report.num_blocks,
        "images": report.num_rows,
        "rows_found": report.num_rows_found,
        "seconds": round(report.seconds, 3),
    }


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
    from cache_store.arrays import DEFAULT_CHUNK_ROWS
    from pipeline.refresh.plan import RefreshOptions

    names = (
        *METHOD_OPTIONS, "size", "epoch", "batch_size", "device", "on_error", "block_rows",
        "retries",
    )  # fmt: skip
    return RefreshOptions(
        **{name: options[name] for name in names},
        chunk_rows=min(DEFAULT_CHUNK_ROWS, options["block_rows"]),
        fsync=not options["no_fsync"],
    )
