"""`scae evaluate`: measure the network of a run, or any other, on test images."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cache_store.wording import counted
from cli.commands import UserErrorCommand, key_values
from cli.verbosity import say
from cli.word_types import DATA, NETWORK

if TYPE_CHECKING:
    from pipeline.training.tested_network import TestedNetwork

OF_A_NETWORK = ("weights", "network_option", "classes")
"""Options that need --network: a run knows them itself."""
PIXELS = click.IntRange(min=1)


@click.command("evaluate", cls=UserErrorCommand)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option(
    "--checkpoint", type=click.Path(path_type=Path),
    help="Weights to measure. [default: the run's final ones, or its newest checkpoint]",
)  # fmt: skip
@click.option(
    "--network", type=NETWORK, metavar="NAME", help="A network of no run, as for `scae refresh`."
)
@click.option("--weights", metavar="FILE", help="With --network: random, default or a file.")
@click.option("--network-option", multiple=True, metavar="KEY=VALUE", help="With --network.")
@click.option("--classes", type=click.IntRange(min=2), help="With --network: number of classes.")
@click.option(
    "--data", type=DATA, metavar="NAME_OR_PATH", help="Other images. [default: the run's]"
)
@click.option(
    "--split", type=click.Choice(["train", "test"]),
    help="[default: test; all of a folder without a held-out one]",
)  # fmt: skip
@click.option("--root", type=click.Path(), help="With --data: folder of a named data set.")
@click.option("--size", type=PIXELS, help="Squash whole images to this side. [default: the run's]")
@click.option("--resize", type=PIXELS, help="Resize the shorter side to this, cut out the centre.")
@click.option("--center-crop", type=PIXELS, help="Side of that cut. [default: the network's size]")
@click.option(
    "--precision", type=click.Choice(["fp32", "bf16", "auto"]), help="Default: the run's."
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Default: the run's.")
@click.option("--occlusion", is_flag=True, help="Also on images that lose parts of their area.")
@click.option("--per-class", is_flag=True, help="List every class too.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, classes always among it.")
def evaluate_command(*, run: Path | None, checkpoint: Path | None, **options: Any) -> None:  # noqa: ANN401
    """Measure the network of RUN on test images, as the run itself does after every epoch.

    Accuracy (top-1, top-5, mean over classes, many/medium/few by training images) and calibration
    error. Images are squashed whole, as in training; --resize and --center-crop give ImageNet's
    usual cut instead. A network of no run is named by --network, --weights and --data.

    \b
    Examples:
      scae evaluate runs/lt
      scae evaluate runs/lt --checkpoint runs/lt/checkpoints/epoch-0199.pt --per-class
      scae evaluate runs/photos --data ~/other-photos --resize 256 --center-crop 224 --json
      scae evaluate --network torchvision:resnet50 --weights resnet50.pth --classes 1000 \\
          --data ~/imagenet --resize 256 --center-crop 224
    """  # noqa: D301  # click wants the character, not two
    _check_usage(run, checkpoint, options)
    from pipeline.training.evaluation import evaluate_network

    tested = _open(run, checkpoint, options)
    for warning in tested.warnings:
        say(f"warning: {warning}")
    measured = evaluate_network(tested, occlusion=options["occlusion"])
    if options["as_json"]:
        click.echo(json.dumps(_fields(tested) | measured))
        return
    for line in _lines(tested, measured, per_class=options["per_class"]):
        click.echo(line)


def _check_usage(run: Path | None, checkpoint: Path | None, options: dict[str, Any]) -> None:
    own = run is not None or checkpoint is not None
    if own == (options["network"] is not None):
        raise click.UsageError(
            "name either RUN (or its --checkpoint) or --network, and one of them"
        )
    if own:
        for name in OF_A_NETWORK:
            if options[name]:
                word = f"--{name.replace('_', '-')}"
                raise click.UsageError(f"{word} has no effect without --network")
    elif options["weights"] is None or options["data"] is None:
        raise click.UsageError("--network needs --weights and --data")
    if options["root"] is not None and options["data"] is None:
        raise click.UsageError("--root has no effect without --data")
    if options["size"] is not None and (options["resize"] or options["center_crop"]):
        raise click.UsageError("--size squashes images: give --center-crop instead with --resize")


def _open(run: Path | None, checkpoint: Path | None, options: dict[str, Any]) -> "TestedNetwork":
    from pipeline.training.tested_network import (
        NamedNetwork,
        TestOptions,
        tested_network,
        tested_run,
    )

    names = (
        "data", "split", "root", "classes", "size", "resize", "center_crop", "precision", "device",
    )  # fmt: skip
    wanted = TestOptions(**{name: options[name] for name in names})
    if options["network"] is None:
        return tested_run(run, checkpoint, wanted)
    network = NamedNetwork(
        name=options["network"],
        weights=options["weights"],
        options=key_values(options["network_option"], "--network-option"),
    )
    return tested_network(network, wanted)


def _fields(tested: "TestedNetwork") -> dict[str, Any]:
    return {
        "network": tested.built.name,
        "weights": tested.weights,
        "weights_digest": tested.built.weights_digest,
        "data": tested.data.name,
        "split": tested.split,
        "images": len(tested.data),
        "classes": tested.data.num_classes,
        "size": tested.size,
        "preparation": tested.preparation,
        "precision": "bf16" if tested.bf16 else "fp32",
        "device": tested.device.type,
    }


def _lines(tested: "TestedNetwork", measured: dict[str, Any], *, per_class: bool) -> list[str]:
    from pipeline.training.occlusion import occlusion_lines

    shown = _fields(tested)
    names = ("top1", "top5", "many", "medium", "few", "balanced", "ece")
    shares = [f"{name} {measured[name]:.2%}" for name in names if measured[name] is not None]
    lines = [
        f"network    {shown['network']}, weights {shown['weights']} "
        f"{shown['weights_digest'][:12]}, {shown['precision']} on {shown['device']}",
        f"data       {shown['data']} ({shown['split']}), {counted(shown['images'], 'image')} of "
        f"{shown['classes']} classes, {shown['preparation']}",
        f"accuracy   {'  '.join(shares)}",
        f"loss       {measured['loss']:.4f}",
    ]
    if "occlusion" in measured:
        lines += occlusion_lines(measured["occlusion"])
    if per_class:
        for one in measured["per_class"]:
            share = "-" if one["top1"] is None else f"{one['top1']:.1%}"
            lines.append(f"class      {share:>6} of {one['images']:>5} images  {one['name']}")
    return lines
