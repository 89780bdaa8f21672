"""`scae bench refresh`: Grad-CAM maps a second beside the forward pass and other libraries."""

import json
from typing import TYPE_CHECKING, Any

import click

from cli.commands import UserErrorCommand
from cli.verbosity import dots
from cli.word_types import NETWORK

if TYPE_CHECKING:
    from pipeline.bench.refresh_speed import NetworkFigures

NETWORKS = ("torchvision:resnet50", "resnet32")
"""Timed unless others are named: ImageNet's usual network, and CIFAR's."""


@click.command("refresh", cls=UserErrorCommand)
@click.option(
    "--network",
    "networks",
    type=NETWORK,
    multiple=True,
    metavar="NAME",
    help=f"As for scae refresh; may be repeated. [default: {', '.join(NETWORKS)}]",
)
@click.option("--size", type=click.IntRange(min=1), help="Side of the images. [default: its own]")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Images of a batch.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=3),
    default=9,
    show_default=True,
    help="Batches of each contender.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="auto and bf16 add our maps in bfloat16; rivals run in float32.",
)
@click.option("--channels-last", is_flag=True, help="Lay rivals' tensors out NHWC too.")
@click.option("--threads", type=click.IntRange(min=1), help="Of torch. [default: its own]")
@click.option(
    "--clock",
    type=click.Choice(["wall", "cpu"]),
    default="wall",
    show_default=True,
    help="cpu counts this process's processor time: for a busy machine, with --threads 1.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    help="auto: a GPU if there is one.",
)
@click.option("--without", multiple=True, metavar="RIVAL", help="Leave a rival out.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def bench_refresh_command(*, networks: tuple[str, ...], as_json: bool, **options: Any) -> None:  # noqa: ANN401  # click hands over what is declared
    """Time Grad-CAM beside the bare forward pass, torchcam, captum and pytorch-grad-cam.

    All explain the same batch with the same random weights, and must agree to 1e-5 of the maps'
    maximum; the last rows are what scae refresh does, tensors laid out NHWC. Every contender runs
    once a round; medians and quartiles are over the rounds, ratios are taken within a round. The
    rivals come with pip install 'scae[bench]'.

    \b
    Examples:
      scae bench refresh
      scae bench refresh --network torchvision:densenet121 --without pytorch-grad-cam --json
    """  # noqa: D301  # click wants the character, not two
    from pipeline.bench.refresh_speed import SpeedOptions, environment, measure_network
    from pipeline.refresh.plan import resolve_device

    speed = SpeedOptions(
        batch_size=options["batch_size"],
        rounds=options["rounds"],
        channels_last=options["channels_last"],
        device=resolve_device(options["device"]),
        precision=options["precision"],
        without=options["without"],
        threads=options["threads"],
        clock=options["clock"],
    )
    with dots() as dot:
        names = networks or NETWORKS
        found = [measure_network(name, options["size"], speed, dot) for name in names]
    if as_json:
        figures = [one.fields() for one in found]
        click.echo(json.dumps({"environment": environment(speed), "networks": figures}))
        return
    click.echo(", ".join(f"{name} {value}" for name, value in environment(speed).items()))
    for one in found:
        click.echo("\n" + _text(one))


def _text(figures: "NetworkFigures") -> str:
    from pipeline.bench.tables import table

    header = ("contender", "images/s (quartiles)", "scae is", "scae refresh is", "maps differ by")
    rows = [
        (
            one.name,
            one.images_per_second.text(1),
            f"{one.ours_over_it.text(3)} x",
            f"{one.refresh_over_it.text(3)} x",
            "" if one.difference is None else f"{one.difference:.1e}",
        )
        for one in figures.contenders
    ]
    head = f"{figures.network} at {figures.size}x{figures.size}, layer {figures.layer}"
    return f"{head}\n\n{table(header, rows)}"
