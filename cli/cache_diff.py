"""`scae cache diff`: say how far two generations lie apart."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.cache_options import optional_data_options
from cli.commands import UserErrorCommand, data_source
from cli.screen import screen

if TYPE_CHECKING:
    from cache_store.generation import Generation
    from pipeline.refresh.compare import MapComparison


@click.command("diff", cls=UserErrorCommand)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option(
    "--lambda",
    "lam",
    type=float,
    default=2.0,
    show_default=True,
    help="Guidance strength of the densities.",
)
@click.option(
    "--worst",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="How many of the samples that differ most to list.",
)
@optional_data_options
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def diff_command(*, first: str, second: str, **options: Any) -> None:  # noqa: ANN401
    """Compare the maps of generations A and B, each CACHE (its newest) or CACHE@NUMBER.

    Samples are matched by id. Printed are the mean rank correlation of the maps, the share of
    samples whose peak has moved, and the total variation distance between the densities that
    centres are drawn from (Eq. 4): 0 the same, 1 nothing in common.

    \b
    Examples:
      scae cache diff maps.zarr@3 maps.zarr
      scae cache diff maps.zarr@3 other.zarr --lambda -2 --data ~/photos
    """  # noqa: D301  # click wants the character, not two
    from pipeline.refresh.compare import compare_generations

    sides = _generation(first), _generation(second)
    with screen() as shown:
        found = compare_generations(
            *sides, lam=options["lam"], num_worst=options["worst"], progress=shown.bars("samples")
        )
    names = _names(found, options)
    if options["as_json"]:
        fields = found.as_dict()
        for sample, name in zip(fields["worst"], names, strict=True):
            sample["name"] = name
        click.echo(json.dumps(fields))
        return
    click.echo(f"A {sides[0]!r}\nB {sides[1]!r}")
    click.echo("\n".join(_lines(found, names)))


def _generation(word: str) -> "Generation":
    from cache_store.store import SaliencyStore

    place, at, number = word.rpartition("@")
    if not at or not number.isdecimal() or Path(word).exists():
        return SaliencyStore.open(word).latest()
    return SaliencyStore.open(place).generation(int(number))


def _names(found: "MapComparison", options: dict[str, Any]) -> list[str | None]:
    """Return the names of the samples that differ most, as far as the data is given."""
    if options["data"] is None:
        return [None] * len(found.worst)
    data = data_source(options).open()
    rows = {int(sample_id): row for row, sample_id in enumerate(data.sample_ids)}
    known = [rows.get(sample.sample_id) for sample in found.worst]
    return [None if row is None else data.describe(row) for row in known]


def _lines(found: "MapComparison", names: list[str | None]) -> list[str]:
    correlation = found.rank_correlation
    lines = [
        f"samples           {found.num_common} in both, {found.num_first_only} in A only, "
        f"{found.num_second_only} in B only; {found.num_equal} maps are equal to the bit",
        "rank correlation  "
        + ("no pair of maps has ranks" if correlation is None else f"{correlation:.4f}")
        + f" ({found.num_flat[0]} maps of A and {found.num_flat[1]} of B are flat: no ranks)",
        f"peaks moved       {found.peaks_moved:.1%}",
        f"TV distance       {found.tv_distance:.4f} at lambda {found.lam:g}, "
        f"{found.size}x{found.size} pixels",
    ]
    for sample, name in zip(found.worst, names, strict=True):
        ranks = "flat" if sample.rank_correlation is None else f"{sample.rank_correlation:.3f}"
        lines.append(
            f"  {sample.tv_distance:.4f}  rows {sample.first_row} and {sample.second_row}, "
            f"id {sample.sample_id:016x}, rank correlation {ranks}"
            + (", peak moved" if sample.peak_moved else "")
            + (f", {name}" if name else "")
        )
    return lines
