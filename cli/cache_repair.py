"""`scae cache repair`: compute again what is damaged."""

import json
from typing import TYPE_CHECKING, Any

import click

from cli.cache_options import optional_data_options
from cli.commands import UserErrorCommand, data_source, key_values
from cli.error_boundary import EXIT_FAILED
from cli.screen import screen
from cli.word_types import NETWORK

if TYPE_CHECKING:
    from cache_store.provenance import Provenance
    from pipeline.refresh.repair import RepairReport
    from pipeline.refresh.repair_sources import RepairSources
    from pipeline.saliency.networks import BuiltNetwork


@click.command("repair", cls=UserErrorCommand)
@click.argument("cache", metavar="CACHE")
@click.option("--generation", type=click.IntRange(min=1), help="This one and what it shares.")
@optional_data_options
@click.option(
    "--network", type=NETWORK, metavar="NAME", help="Where it is now. [default: the recorded name]"
)
@click.option(
    "--weights",
    metavar="FILE|default|random",
    help="Weights that the maps were made from. [default: as recorded, unless that was a file]",
)
@click.option("--network-option", multiple=True, metavar="KEY=VALUE", help="Constructor argument.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of random weights.")
@click.option(
    "--allow-different",
    is_flag=True,
    help="Publish a new generation where maps come out with other bytes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def repair_command(*, cache: str, **options: Any) -> None:  # noqa: ANN401  # as click calls it
    """Compute again what is damaged or missing in CACHE, and only that.

    Only the very bytes that a manifest lists are put back, so data and weights must be those that
    the maps were made from; both are checked. Records and metadata need neither.
    On another kind of device maps may come out up to one level apart: they are not put under the
    old manifest; --allow-different publishes them with the intact ones as a new generation.
    Exit codes: 0 nothing damaged is left that a new generation does not replace, 1 something is.

    \b
    Examples:
      scae cache repair maps.zarr
      scae cache repair maps.zarr --generation 3 --data ~/photos --weights resnet50.pth
    """  # noqa: D301  # click wants the character, not two
    from pipeline.refresh.repair import repair_cache

    asked = None if options["generation"] is None else [options["generation"]]
    with screen() as shown:
        report = repair_cache(
            cache,
            None if options["data"] is None else _sources(options),
            generations=asked,
            allow_different=options["allow_different"],
            progress=shown.bars("blocks"),
        )
    if options["as_json"]:
        click.echo(json.dumps(_fields(report)))
    else:
        click.echo("\n".join(_lines(report)))
    if not report.ok:
        click.get_current_context().exit(EXIT_FAILED)


def _sources(options: dict[str, Any]) -> "RepairSources":
    from pipeline.refresh.repair_sources import RepairSources

    def network(made_from: "Provenance", num_classes: int) -> "BuiltNetwork":
        from pipeline.errors import RefreshError
        from pipeline.refresh.sources import NetworkSource

        weights = options["weights"]
        if weights is None and made_from.weights not in ("random", "default"):
            raise RefreshError(
                "the maps were made from a weights file with digest "
                f"{made_from.weights_digest[:12]}: name it with --weights"
            )
        source = NetworkSource(
            name=options["network"] or made_from.network,
            num_classes=num_classes,
            weights=weights or made_from.weights,
            seed=options["seed"],
            options=key_values(options["network_option"], "--network-option"),
        )
        return source.build()

    return RepairSources(data=data_source(options).open, network=network)


def _fields(report: "RepairReport") -> dict[str, Any]:
    return {
        "ok": report.ok,
        "repaired": report.repaired,
        "damaged": report.hopeless,
        "superseded": report.superseded,
        "published": [generation.number for generation in report.published],
        "notes": report.notes,
    }


def _lines(report: "RepairReport") -> list[str]:
    lines = [f"repaired       {key}" for key in report.repaired]
    lines += [f"still damaged  {key}: {why}" for key, why in report.hopeless.items()]
    lines += [f"superseded     {key}: {where}" for key, where in report.superseded.items()]
    lines += [f"note           {note}" for note in report.notes]
    lines += [
        f"published      generation {generation.number}, digest {generation.digest[:12]}"
        for generation in report.published
    ]
    if not report.repaired and report.ok:
        return ["nothing is damaged"]
    return [*lines, f"{len(report.repaired)} repaired, {len(report.hopeless)} still damaged"]
