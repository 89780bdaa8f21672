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
    from pipeline.pictures.diff import DiffSamples
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
    default=6,
    show_default=True,
    help="How many of the samples that differ most to list and to draw.",
)
@optional_data_options
@click.option(
    "--out",
    type=click.Path(),
    metavar="FILE",
    help="Draw it too: a picture, FILE.png, or a page that needs nothing else, FILE.html.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def diff_command(*, first: str, second: str, **options: Any) -> None:  # noqa: ANN401
    """Compare the maps of generations A and B, each CACHE (its newest) or CACHE@NUMBER.

    Samples are matched by id. Printed are the mean rank correlation of the maps, the share of
    samples whose peak has moved, and the total variation distance between the densities that
    centres are drawn from (Eq. 4): 0 the same, 1 nothing in common. --out draws how both are
    spread over the samples, and the samples that differ most; --data gives them names and images.

    \b
    Examples:
      scae cache diff maps.zarr@3 maps.zarr
      scae cache diff maps.zarr@1 maps.zarr@5 --data shapes --out diff.png
      scae cache diff maps.zarr@3 other.zarr --lambda -2 --data ~/photos --worst 12 --out diff.html
    """  # noqa: D301  # click wants the character, not two
    from pipeline.refresh.compare import compare_generations

    if options["out"] is not None:
        from pipeline.pictures.diff import checked_diff_path

        checked_diff_path(options["out"])  # before the work, not after it
    sides = _generation(first), _generation(second)
    with screen() as shown:
        found = compare_generations(
            *sides, lam=options["lam"], num_worst=options["worst"], progress=shown.bars("samples")
        )
    samples = _samples(found, options)
    names = _names(found, samples)
    if options["out"] is not None:
        from pipeline.pictures.diff import write_diff

        write_diff(
            options["out"],
            found,
            sides,
            names=(first, second),
            facts=_facts(found),
            samples=samples,
        )
    if options["as_json"]:
        fields = found.as_dict()
        for sample, name in zip(fields["worst"], names, strict=True):
            sample["name"] = name
        click.echo(json.dumps(fields))
        return
    click.echo(f"A {sides[0]!r}\nB {sides[1]!r}")
    lines = [f"{name:18}{text}" for name, text in _facts(found)]
    click.echo("\n".join([*lines, *_sample_lines(found, names)]))
    if options["out"] is not None:
        click.echo(f"drawn in {options['out']}")


def _generation(word: str) -> "Generation":
    from cache_store.store import SaliencyStore

    place, at, number = word.rpartition("@")
    if not at or not number.isdecimal() or Path(word).exists():
        return SaliencyStore.open(word).latest()
    return SaliencyStore.open(place).generation(int(number))


def _samples(found: "MapComparison", options: dict[str, Any]) -> "DiffSamples | None":
    """Return the samples that differ most as the data has them, if it is given."""
    if options["data"] is None:
        return None
    from pipeline.pictures.diff import DiffSamples

    data = data_source(options).open()
    rows = {int(sample_id): row for row, sample_id in enumerate(data.sample_ids)}
    return DiffSamples(data=data, rows=[rows.get(sample.sample_id) for sample in found.worst])


def _names(found: "MapComparison", samples: "DiffSamples | None") -> list[str | None]:
    """Return the names of the samples that differ most, as far as the data is given."""
    if samples is None:
        return [None] * len(found.worst)
    return [None if row is None else samples.data.describe(row) for row in samples.rows]


def _facts(found: "MapComparison") -> list[tuple[str, str]]:
    """Return names and texts of what was found."""
    correlation = found.rank_correlation
    ranks = "no pair of maps has ranks" if correlation is None else f"{correlation:.4f}"
    first, second = found.num_flat
    return [
        (
            "samples",
            f"{found.num_common} in both, {found.num_first_only} in A only, "
            f"{found.num_second_only} in B only; {found.num_equal} maps are equal to the bit",
        ),
        (
            "rank correlation",
            f"{ranks} ({first} maps of A and {second} of B are flat: no ranks)",
        ),
        ("peaks moved", f"{found.peaks_moved:.1%}"),
        (
            "TV distance",
            f"{found.tv_distance:.4f} at lambda {found.lam:g}, {found.size}x{found.size} pixels",
        ),
    ]


def _sample_lines(found: "MapComparison", names: list[str | None]) -> list[str]:
    lines = []
    for sample, name in zip(found.worst, names, strict=True):
        ranks = "flat" if sample.rank_correlation is None else f"{sample.rank_correlation:.3f}"
        lines.append(
            f"  {sample.tv_distance:.4f}  rows {sample.first_row} and {sample.second_row}, "
            f"id {sample.sample_id:016x}, rank correlation {ranks}"
            + (", peak moved" if sample.peak_moved else "")
            + (f", {name}" if name else "")
        )
    return lines
