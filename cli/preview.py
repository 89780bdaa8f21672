"""`scae preview`: draw images, maps and sampled rectangles."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from cli.commands import UserErrorCommand, data_options, data_source

ID_DIGITS = 16
"""Hexadecimal digits of a sample's id."""


def whole_numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Split numbers with commas between them (an option's callback)."""
    try:
        return () if value is None else tuple(int(word) for word in value.split(","))
    except ValueError as error:
        message = f"must be whole numbers with commas between them, got {value!r}"
        raise click.BadParameter(message, ctx, param) from error


def hex_ids(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[int, ...]:
    """Read sample ids as they are printed (an option's callback)."""
    ids = []
    for word in values:
        if len(word) != ID_DIGITS or set(word.lower()) - set("0123456789abcdef"):
            message = f"must be {ID_DIGITS} hexadecimal digits, got {word!r}"
            raise click.BadParameter(message, ctx, param)
        ids.append(int(word, 16))
    return tuple(ids)


def numbers(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    """Split numbers with commas between them (an option's callback)."""
    try:
        return tuple(float(word) for word in value.split(","))
    except ValueError as error:
        message = f"must be numbers with commas between them, got {value!r}"
        raise click.BadParameter(message, ctx, param) from error


@click.command("preview", cls=UserErrorCommand)
@partial(data_options, required=False)
@click.option(
    "--loader",
    "recipe",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="RECIPE.toml",
    help="Show a batch of this recipe's training instead; a run folder has its recipe.toml.",
)
@click.option("--epoch", type=click.IntRange(min=0), help="With --loader. [default: 0]")
@click.option("--step", type=click.IntRange(min=0), help="With --loader. [default: 0]")
@click.option("--cache", required=True, metavar="URL", help="Cache of that data.")
@click.option(
    "--generation",
    "generations",
    type=click.IntRange(min=0),
    multiple=True,
    help="Its number; given more than once: side by side. 0 with --loader: no maps yet. "
    "[default: newest]",
)
@click.option("--rows", callback=whole_numbers, metavar="1,2,3", help="Samples to show.")
@click.option(
    "--id",
    "ids",
    callback=hex_ids,
    multiple=True,
    metavar="HEX",
    help="Sample to show, by its id in the cache; more than once for several.",
)
@click.option(
    "--class",
    "chosen_classes",
    multiple=True,
    metavar="NAME",
    help="Choose from this class, by name or number; more than once for several.",
)
@click.option(
    "--num",
    type=click.IntRange(min=1),
    help="How many to choose where neither --rows nor --id says which, spread over the classes. "
    "[default: 6; of a batch 32]",
)
@click.option(
    "--lambda",
    "lambdas",
    callback=numbers,
    default="-2,0,2",
    show_default=True,
    metavar="NUMBERS",
    help="Guidance strengths, a column each.",
)
@click.option(
    "--boxes", type=click.IntRange(min=0), default=5, show_default=True, help="Rectangles a cell."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, help="Decides samples and rectangles."
)
@click.option(
    "--out",
    required=True,
    type=click.Path(),
    metavar="FILE",
    help="The picture, FILE.png, or a page that needs nothing else, FILE.html.",
)
def preview_command(**options: Any) -> None:  # noqa: ANN401  # click hands over what is declared
    """Draw what the cache knows: image, map, P(i, j), rectangles, and the input they leave.

    With --loader: the very batch that a step of training sees, erased and mixed.

    \b
    Examples:
      scae preview --data shapes --cache maps.zarr --out maps.png
      scae preview --data shapes --cache maps.zarr --generation 1 --generation 5 --out two.html
      scae preview --data ~/photos --cache maps.zarr --class tench --class 3 --out fish.png
      scae preview --data ~/photos --cache maps.zarr --rows 3,14 --lambda "-4,0,4" --out pair.png
      scae preview --loader runs/a/recipe.toml --cache runs/a/maps.zarr --epoch 9 --out batch.html
    """  # noqa: D301  # click wants the character itself, so this can't be a raw text
    if options["recipe"] is not None:
        click.echo(_loader_preview(options))
        return
    from pipeline.pictures.preview import PreviewOptions, write_preview

    if options["data"] is None or options["epoch"] is not None or options["step"] is not None:
        raise click.UsageError("give --data, or --loader and then --epoch and --step too")
    names = ("generations", "rows", "ids", "num", "lambdas", "boxes", "seed")
    given = {name: options[name] for name in names if options[name] is not None}
    chosen = PreviewOptions(classes=options["chosen_classes"], **given)
    report = write_preview(data_source(options).open(), options["cache"], options["out"], chosen)
    click.echo(report.text)


def _loader_preview(options: dict[str, Any]) -> str:
    from pipeline.training.loader_preview import LoaderPreviewOptions, write_loader_preview
    from pipeline.training.recipe_file import load_recipe

    if any(options[name] for name in ("data", "rows", "ids", "chosen_classes")):
        raise click.UsageError(
            "--loader shows what its recipe loads: leave --data, --rows, --id and --class out"
        )
    if len(options["generations"]) > 1:
        raise click.UsageError("--loader shows a batch once: give one --generation at most")
    names = ("epoch", "step", "num")
    given = {name: options[name] for name in names if options[name] is not None}
    if options["generations"]:
        given["generation"] = options["generations"][0]
    chosen = LoaderPreviewOptions(**given)
    recipe = load_recipe(options["recipe"])
    return write_loader_preview(recipe, options["cache"], options["out"], chosen)
