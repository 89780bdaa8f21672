"""`scae bench loader`: images a second of the training loader beside rivals and itself."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.commands import UserErrorCommand
from cli.verbosity import dots

if TYPE_CHECKING:
    from pipeline.bench.loader_speed import LoaderFigures


@click.command("loader", cls=UserErrorCommand)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of JPEG files. [default: only the part in memory]",
)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=400,
    show_default=True,
    help="Images of an epoch.",
)
@click.option(
    "--size",
    type=click.IntRange(min=1),
    default=224,
    show_default=True,
    help="Side of the cuts from JPEG files.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Images of a batch.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=3),
    default=9,
    show_default=True,
    help="Epochs of each contender.",
)
@click.option("--without", multiple=True, metavar="RIVAL", help="Leave a rival out.")
@click.option(
    "--clock",
    type=click.Choice(["wall", "cpu"]),
    default="wall",
    show_default=True,
    help="cpu counts the processor time of this process and its workers: for a busy machine.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def bench_loader_command(*, data: Path | None, as_json: bool, **options: Any) -> None:  # noqa: ANN401  # click hands over what is declared
    """Time the loader: images in memory, and JPEG files beside loaders that read the same bytes.

    In memory, 32x32 images are cropped, flipped, normalised and erased, beside torchvision's
    transforms a sample at a time. JPEG files are decoded, cut by RandomResizedCrop, flipped and
    normalised, beside torchvision v2, albumentations, webdataset, litdata and mosaicml-streaming;
    those that are not installed are listed as absent. Everyone has one worker process. Each
    contender loads an epoch a round; medians and quartiles are over the rounds, ratios are taken
    within a round.

    \b
    Examples:
      scae bench loader
      scae bench loader --data ~/imagenet/val --images 1000 --json
    """  # noqa: D301  # click wants the character, not two
    from pipeline.bench.loader_speed import (
        LoaderOptions,
        environment,
        measure_jpeg,
        measure_memory,
    )

    chosen = LoaderOptions(**options)
    with dots() as dot:
        # First what may find something wrong with the files.
        jpeg = [] if data is None else [measure_jpeg(data, chosen, dot)]
        found = [measure_memory(chosen, dot), *jpeg]
    if as_json:
        figures = [one.fields() for one in found]
        click.echo(json.dumps({"environment": environment(chosen), "parts": figures}))
        return
    click.echo(", ".join(f"{name} {value}" for name, value in environment(chosen).items()))
    for one in found:
        click.echo("\n" + _text(one))


def _text(figures: "LoaderFigures") -> str:
    from pipeline.bench.tables import table

    header = ("contender", "images/s (quartiles)", "scae is")
    rows = [
        (row.name, row.images_per_second.text(0), f"{row.scae_over_it.text(2)} x")
        for row in figures.rows
    ]
    rows += [(name, "not installed", "") for name in figures.absent]
    return f"{figures.title}\n\n{table(header, rows)}"
