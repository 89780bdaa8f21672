"""`scae preview`: draw images, maps and sampled rectangles."""

from typing import Any

import click

from cli.commands import UserErrorCommand, data_options, data_source


def whole_numbers(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    """Split numbers with commas between them (an option's callback)."""
    try:
        return None if value is None else tuple(int(word) for word in value.split(","))
    except ValueError as error:
        message = f"must be whole numbers with commas between them, got {value!r}"
        raise click.BadParameter(message, ctx, param) from error


def numbers(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    """Split numbers with commas between them (an option's callback)."""
    try:
        return tuple(float(word) for word in value.split(","))
    except ValueError as error:
        message = f"must be numbers with commas between them, got {value!r}"
        raise click.BadParameter(message, ctx, param) from error


@click.command("preview", cls=UserErrorCommand)
@data_options
@click.option("--cache", required=True, metavar="URL", help="Cache of that data.")
@click.option("--generation", type=click.IntRange(min=1), help="Its number. [default: newest]")
@click.option("--rows", callback=whole_numbers, metavar="1,2,3", help="Samples to show.")
@click.option(
    "--num",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Without --rows: how many samples, spread over the classes.",
)
@click.option(
    "--lambda",
    "lambdas",
    callback=numbers,
    default="-2,0,1,2",
    show_default=True,
    metavar="NUMBERS",
    help="Guidance strengths, a column each.",
)
@click.option(
    "--boxes", type=click.IntRange(min=0), default=8, show_default=True, help="Rectangles a cell."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, help="Decides samples and rectangles."
)
@click.option("--out", required=True, type=click.Path(), metavar="FILE.png", help="The picture.")
def preview_command(**options: Any) -> None:  # noqa: ANN401  # click hands over what is declared
    """Draw what the cache knows: image, map, density, and rectangles as the loader draws them.

    \b
    Examples:
      scae preview --data shapes --cache maps.zarr --out maps.png
      scae preview --data ~/photos --cache maps.zarr --rows 3,14 --lambda "-4,0,4" --out two.png
    """  # noqa: D301  # click wants the character itself, so this can't be a raw text
    from pipeline.refresh.preview import PreviewOptions, write_preview

    names = ("generation", "rows", "num", "lambdas", "boxes", "seed")
    chosen = PreviewOptions(**{name: options[name] for name in names})
    report = write_preview(data_source(options).open(), options["cache"], options["out"], chosen)
    click.echo(report.text)
