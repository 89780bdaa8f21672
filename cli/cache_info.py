"""`scae cache info`: say what a cache holds."""

import json
from typing import Any

import click

from cache_store.wording import counted
from cli.commands import UserErrorCommand


@click.command("info", cls=UserErrorCommand)
@click.argument("cache", metavar="CACHE")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def info_command(*, cache: str, as_json: bool) -> None:
    """Say what CACHE holds: its data, its generations, and what each was made from.

    \b
    Example:
      scae cache info maps.zarr
    """  # noqa: D301  # click wants the character, not two
    from cache_store.info import cache_info

    info = cache_info(cache)
    click.echo(json.dumps(info) if as_json else "\n".join(_lines(info)))


def _lines(info: dict[str, Any]) -> list[str]:
    lines = [
        f"cache        {info['url']}",
        f"data         {info['data']}, {counted(info['num_samples'], 'sample')}, "
        f"fingerprint {info['fingerprint'][:12]}",
    ]
    if not info["generations"]:
        lines.append("generations  none published yet: run 'scae refresh'")
    for generation in info["generations"]:
        made = generation["provenance"]
        epoch = "" if made["epoch"] is None else f", after epoch {made['epoch']}"
        height, width = generation["map_shape"]
        notes = generation["notes"]
        lines += [
            f"generation   {generation['number']}, published {generation['published_at']}",
            f"  maps       {height}x{width} uint8, {generation['bytes']:,} bytes stored, "
            f"{generation['flat']} flat, {generation['skipped']} skipped",
            f"  from       {made['network']} layer {made['target_layer']}, weights "
            f"{made['weights']} {made['weights_digest'][:12]}{epoch}",
            f"  method     {made['method']}",
            *(
                [f"  notes      {', '.join(f'{k} {v:.3g}' for k, v in notes.items())}"]
                if notes
                else []
            ),
            f"  images     {made['size']}x{made['size']}, {made['precision']} on "
            f"{made['device_type']}, batches of {made['batch_size']}",
            f"  digest     {generation['digest'][:12]}, written with "
            + ", ".join(f"{name} {number}" for name, number in generation["software"].items()),
        ]
    return lines
