"""`scae cache export`: write a generation as one .npz file."""

import click

from cache_store.wording import counted
from cli.commands import UserErrorCommand


@click.command("export", cls=UserErrorCommand)
@click.argument("cache", metavar="CACHE")
@click.argument("out", metavar="OUT.npz", type=click.Path(dir_okay=False))
@click.option("--generation", type=click.IntRange(min=1), help="Its number. [default: newest]")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def export_command(*, cache: str, out: str, generation: int | None, force: bool) -> None:
    """Write a generation of CACHE as NumPy arrays that need neither Zarr nor scae to read.

    maps (N, h, w) uint8 with 255 = 1.0, gain, floor, probability, label, sample_id,
    class_neighbours, and provenance, a JSON text.

    \b
    Example:
      scae cache export maps.zarr maps.npz --generation 3
    """  # noqa: D301  # click wants the character, not two
    from cache_store.export import export_generation
    from cache_store.store import SaliencyStore

    store = SaliencyStore.open(cache)
    chosen = store.latest() if generation is None else store.generation(generation)
    num_bytes = export_generation(chosen, out, force=force)
    click.echo(
        f"wrote generation {chosen.number}, {counted(len(chosen), 'map')}, "
        f"{num_bytes:,} bytes: {out}"
    )
