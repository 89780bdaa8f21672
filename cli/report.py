"""`scae report`: tables of finished runs beside the paper's and published figures."""

from pathlib import Path

import click

from cache_store.wording import counted
from cli.several_words import SeveralWordsCommand
from cli.verbosity import say


@click.command("report", cls=SeveralWordsCommand)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write into.")
@click.option("--against", metavar="ROW", help="Recipe or label of the row to compare with.")
@click.option("--table", "tables", multiple=True, metavar="NAME", help="Show this table alone.")
@click.option(
    "--seeds", multiple=True, type=click.IntRange(min=0),
    help="Seeds that every row should have. [default: all that a table's runs have]",
)  # fmt: skip
@click.option(
    "--recipes", type=click.Path(path_type=Path),
    help="Folder of the recipes of the paper's rows. [default: recipes, if it is there]",
)  # fmt: skip
@click.option(
    "--paper", type=click.Path(path_type=Path),
    help="The paper's figures. [default: paper/figures.toml in the folder of the recipes]",
)  # fmt: skip
def report_command(
    *,
    runs: tuple[Path, ...],
    out: Path,
    against: str | None,
    tables: tuple[str, ...],
    seeds: tuple[int, ...],
    recipes: Path | None,
    paper: Path | None,
) -> None:
    """Compare finished runs with each other, with the paper, and with published figures.

    RUNS are folders of `scae sweep`, its record files, or run folders of `scae train`. Writes
    report.md, report.csv and report.html: mean and standard deviation over seeds, differences seed
    by seed with 95 % intervals, figures of the paper and of the methods' authors, and the command
    for each row and seed that is missing. Runs whose settings are not their recipe's own get a
    table of their own that says so.

    \b
    Examples:
      scae report runs/table3 --out reports/table3
      scae report runs/table3 --out reports/cutmix --against CutMix --table table3_rho100
      scae report runs/table1/*.json runs/mine --out reports/mine
    """  # noqa: D301  # click wants the character, not two
    from pipeline.training.comparison.compare import compare
    from pipeline.training.comparison.write import write_comparison

    comparison = compare(
        runs,
        recipes=recipes,
        paper=paper,
        names=tables,
        against=against,
        seeds=seeds or None,
    )
    written = write_comparison(comparison, out)
    for line in comparison.warnings:
        say(f"warning: {line}")
    for item in comparison.missing:
        click.echo(f"missing: {item.what}\n  {item.command}")
    if comparison.untouched:
        have = counted(len(comparison.untouched), "table has", "tables have")
        click.echo(f"{have} no run yet: see the report's end")
    for path in written:
        click.echo(f"wrote {path}")
