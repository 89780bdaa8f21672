"""`scae sweep`: recipes times seeds, one run after another."""

from pathlib import Path

import click

from cli.error_boundary import EXIT_FAILED
from cli.screen import screen
from cli.several_words import SeveralWordsCommand
from cli.word_types import RECIPE


@click.command("sweep", cls=SeveralWordsCommand)
@click.argument("recipes", nargs=-1, required=True, type=RECIPE)
@click.option(
    "--seeds", multiple=True, type=click.IntRange(min=0), default=(0,), show_default=True,
    help="One or more: --seeds 0 1 2.",
)  # fmt: skip
@click.option("--runs", type=click.Path(path_type=Path), required=True, help="Folder of all runs.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="For all recipes.")
@click.option("--debug", is_flag=True, help="The recipes' debug forms: seconds, on shapes.")
@click.option("--dry-run", is_flag=True, help="List the runs and how far they are.")
def sweep_command(
    *,
    recipes: tuple[Path, ...],
    seeds: tuple[int, ...],
    runs: Path,
    overrides: tuple[str, ...],
    debug: bool,
    dry_run: bool,
) -> None:
    """Run recipes with several seeds, one run after another, and skip what is done.

    Each run gets a folder RECIPE-seedN, and when it is finished a small file RECIPE-seedN.json with
    its figures: `scae report` needs nothing else. All recipes come with the first seed, then with
    the next. A run that fails is named at the end, the others go on. The same command goes on after
    a stop or a kill; two at once in one folder are refused. Exit codes: 0 all done, 1 some failed,
    2 wrong usage, 75 stopped and can be resumed.

    \b
    Examples:
      scae sweep recipes/table3_rho100_*.toml --seeds 0 1 2 --runs runs/table3
      scae sweep recipes/table1_*.toml --debug --runs runs/debug
      scae sweep recipes/table2_*.toml --set data.root=/data/imagenet --runs runs/table2 --dry-run
    """  # noqa: D301  # click wants the character, not two
    from pipeline.refresh.stopping import stop_on_signals
    from pipeline.training.sweep import plan_sweep, run_sweep

    planned = plan_sweep(recipes, seeds, runs, overrides=overrides, debug=debug)
    if dry_run:
        for run in planned:
            click.echo(f"{run.state():<6}{run.title}  {run.folder}")
        return
    with stop_on_signals() as stop, screen() as shown:
        outcome = run_sweep(planned, runs, log=shown.log, progress=shown.bars, stop=stop)
    click.echo(
        f"{len(outcome.done)} done, {len(outcome.skipped)} done before, "
        f"{len(outcome.failed)} failed"
    )
    for failed, why in outcome.failed:
        click.echo(f"Error: {failed.title}: {why} (see {failed.error_path})", err=True)
    if outcome.failed:
        raise click.exceptions.Exit(EXIT_FAILED)
