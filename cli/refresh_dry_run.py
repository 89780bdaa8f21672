"""`scae refresh --dry-run`: what a refresh would do, and how long it would take."""

import json
from typing import TYPE_CHECKING, Any

import click

from cache_store.wording import counted
from cli.refresh_progress import duration
from cli.verbosity import say

if TYPE_CHECKING:
    from loaders.image_data import ImageData
    from pipeline.refresh.plan import RefreshPlan
    from pipeline.saliency.networks import BuiltNetwork


def dry_run(
    plan: "RefreshPlan", opened: "ImageData", built: "BuiltNetwork", options: dict[str, Any]
) -> None:
    """Print the plan, what of it is missing, and how long that takes; write nothing.

    Args:
        plan: The plan.
        opened: The data, open.
        built: The network, built.
        options: The command's options.
    """
    from pipeline.refresh.estimate import estimate_refresh, missing_blocks

    blocks = missing_blocks(plan)
    if options["part"]:
        own = options["part"].of(plan.blocks)
        blocks = tuple(block for block in own if block in set(blocks))
    rows = sum(map(len, blocks))
    estimate = estimate_refresh(plan, opened, built, rows=rows, workers=options["workers"] or 1)
    fields = {
        "images": plan.generation.num_samples,
        "blocks": len(plan.blocks),
        "missing_blocks": len(blocks),
        "missing_images": rows,
        "bytes": plan.num_bytes,
        "images_per_second": round(estimate.images_per_second, 3),
        "seconds": round(estimate.seconds, 3),
        "block_seconds": round(estimate.block_seconds, 3),
        "better_block_rows": estimate.better_block_rows,
    }
    place = (
        "here" if options["scheduler"] is None is options["scheduler_file"] else "on one like it"
    )
    lines = [
        plan.summary(),
        f"to do     {len(blocks)} of {len(plan.blocks)} blocks, {counted(rows, 'image')}",
        f"speed     {estimate.images_per_second:,.0f} images/s in this process, by one timed batch",
        f"time      about {duration(estimate.seconds)} {place}, "
        f"{duration(estimate.block_seconds)} a block",
    ]
    click.echo(json.dumps(fields) if options["as_json"] else "\n".join(lines))
    if estimate.better_block_rows is not None:
        say(
            f"warning: a block takes about {duration(estimate.block_seconds)}, and a stop or a "
            f"lost worker costs one: --block-rows {estimate.better_block_rows} makes them shorter"
        )
