"""Maps a second: our Grad-CAM beside the bare forward pass and beside other libraries."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from pipeline.bench.contenders import (
    RIVALS,
    Contender,
    Task,
    as_refreshed,
    forward_pass,
    our_maps,
    rivals,
)
from pipeline.bench.rounds import Spread, interleaved, ratios
from pipeline.errors import BenchError
from pipeline.saliency.networks import build_network
from pipeline.saliency.precision import choose_precision
from pipeline.saliency.target_layer import find_target_layer

__all__ = ["TOLERANCE", "NetworkFigures", "SpeedOptions", "environment", "measure_network"]

TOLERANCE = 1e-5
"""Largest difference between two contenders' maps, as a share of the largest value."""

_NUM_CLASSES = 1000
_CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedOptions:
    """What is timed and how often."""

    batch_size: int = 16
    """Images a batch."""
    rounds: int = 9
    """Timed rounds; every contender runs once in each."""
    channels_last: bool = False
    """Lay the rivals' network and images out NHWC, as `scae refresh` does."""
    device: str = "cpu"
    """'cpu' or 'cuda'."""
    precision: str = "auto"
    """'auto' adds our maps and the forward pass in bfloat16 where the device has it, 'bf16' adds
    them anyhow, 'fp32' leaves them out."""
    without: tuple[str, ...] = ()
    """Rivals left out."""
    threads: int | None = None
    """Threads of torch, set for the process; None leaves them."""
    clock: str = "wall"
    """'wall', or 'cpu' for the process's processor time, which a busy machine disturbs less."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise BenchError(f"batch_size must be 1 or more, got {self.batch_size}")
        if self.clock not in _CLOCKS or (self.clock == "cpu" and self.device == "cuda"):
            raise BenchError(
                f"clock must be wall, or cpu where the network runs on the CPU, got {self.clock!r}"
                f" with device {self.device}"
            )
        unknown = sorted(set(self.without) - set(RIVALS))
        if unknown:
            raise BenchError(f"without must name {', '.join(RIVALS)}, got {', '.join(unknown)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ContenderFigures:
    """What one contender did."""

    name: str
    """For the table."""
    images_per_second: Spread
    """Over the rounds."""
    ours_over_it: Spread
    """Our fp32 speed in the layout of the rivals over its own, paired by rounds."""
    refresh_over_it: Spread
    """Our fp32 speed in the layout that `scae refresh` takes over its own, paired by rounds."""
    difference: float | None
    """Largest difference to our fp32 maps as a share of their maximum; None for no maps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkFigures:
    """The figures of one network."""

    network: str
    """Its name."""
    size: int
    """Side of the images."""
    layer: str
    """Target layer."""
    contenders: tuple[ContenderFigures, ...]
    """The limit, ours, the rivals, and those in bfloat16."""

    def fields(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return asdict(self)


def measure_network(
    name: str,
    size: int | None,
    options: SpeedOptions,
    progress: Callable[[str], None] = lambda _name: None,
) -> NetworkFigures:
    """Time all contenders on one network with random weights.

    Args:
        name: As for `build_network`.
        size: Side of the images; None is the network's own.
        options: What is timed.
        progress: Called with the name of each contender that starts.

    Raises:
        BenchError: If a rival is not installed, or its maps differ from ours.
        NetworkError: If the network can't be built or explained.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    task, size = _task(name, size, options)
    ours = our_maps(task)
    contenders = [forward_pass(task), ours, *rivals(task, options.without)]
    refreshed = as_refreshed(task, bf16=False)
    contenders += refreshed
    if choose_precision(options.precision, options.device).name == "bf16":
        contenders += as_refreshed(task, bf16=True)
    differences = _differences(ours, contenders)
    seconds = interleaved(
        _timed(contenders, options.device, progress), options.rounds, clock=_CLOCKS[options.clock]
    )
    figures = [
        ContenderFigures(
            name=contender.name,
            images_per_second=Spread.of(
                [options.batch_size / one for one in seconds[contender.name]]
            ),
            ours_over_it=ratios(seconds[contender.name], seconds[ours.name]),
            refresh_over_it=ratios(seconds[contender.name], seconds[refreshed[-1].name]),
            difference=differences.get(contender.name),
        )
        for contender in contenders
    ]
    return NetworkFigures(network=name, size=size, layer=task.layer, contenders=tuple(figures))


def environment(options: SpeedOptions) -> dict[str, str]:
    """Name what the figures depend on: versions, threads, layout, device."""
    packages = ("torch", "torchvision", *RIVALS.values())
    versions = {package: _version(package) for package in packages}
    return {
        "python": platform.python_version(),
        **versions,
        "threads": str(torch.get_num_threads()),
        "device": options.device,
        "layout": "channels_last" if options.channels_last else "contiguous",
        "batch": str(options.batch_size),
        "rounds": str(options.rounds),
        "clock": options.clock,
    }


def _task(name: str, size: int | None, options: SpeedOptions) -> tuple[Task, int]:
    built = build_network(name, num_classes=_NUM_CLASSES)
    size = size or built.native_size
    layer = find_target_layer(built.module, size).name
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    network = built.module.eval().to(options.device).to(memory_format=layout)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(options.batch_size, 3, size, size, generator=generator)
    labels = torch.randint(0, _NUM_CLASSES, (options.batch_size,), generator=generator)
    task = Task(
        network=network,
        layer=layer,
        images=images.to(options.device).contiguous(memory_format=layout),
        labels=labels.to(options.device),
    )
    return task, size


def _timed(
    contenders: list[Contender], device: str, progress: Callable[[str], None]
) -> Mapping[str, Callable[[], object]]:
    def timed(contender: Contender) -> Callable[[], object]:
        def run() -> None:
            progress(contender.name)
            contender.run()
            if device == "cuda":
                torch.cuda.synchronize()

        return run

    return {contender.name: timed(contender) for contender in contenders}


def _differences(ours: Contender, contenders: list[Contender]) -> dict[str, float]:
    """Compare everyone's maps with ours; rivals must agree."""
    maps = ours.run()
    found = {}
    for contender in contenders:
        theirs = contender.run()
        if contender is ours or theirs.ndim != maps.ndim:
            continue
        expected, theirs = contender.same(maps, theirs) if contender.same else (maps, theirs)
        found[contender.name] = _difference(expected, theirs)
        if contender.is_rival and not found[contender.name] <= TOLERANCE:
            raise BenchError(
                f"maps of {contender.name} must equal ours to {TOLERANCE:g} of their maximum, got"
                f" {found[contender.name]:.2g}: one of the two is wrong, so speeds mean nothing"
            )
    return found


def _difference(expected: Tensor, found: Tensor) -> float:
    scale = float(expected.abs().max())
    if not scale:
        raise BenchError("our maps must not be flat, got zeros alone: nothing to compare")
    return float((expected - found).abs().max()) / scale


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
