"""A whole refresh from JPEG files against its parts alone: decoding, and the forward pass.

On a CPU both need the same cores, so the refresh can't be faster than their sum. A GPU leaves the
cores free: its place is taken by a network that only waits, as long as decoding takes, and the
refresh should last no longer than the slower of the two.

Run: .venv/bin/python -P benchmarks/refresh_from_jpeg.py FOLDER  (class folders of JPEGs)
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from loaders.image_data import ImageData
from pipeline.bench.rounds import Spread, interleaved, ratios
from pipeline.bench.tables import table
from pipeline.refresh.blocks import Block, cut_batches
from pipeline.refresh.feed import Feed
from pipeline.refresh.job import execute
from pipeline.refresh.plan import RefreshOptions, plan_refresh
from pipeline.refresh.runner import available_cores
from pipeline.refresh.sources import DataSource, NetworkSource
from pipeline.saliency.networks import BuiltNetwork
from pipeline.saliency.precision import choose_precision
from pipeline.saliency.weights import weights_digest

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class Waiting(nn.Module):
    """Stands in for a network on a GPU: waits, and costs this machine's cores next to nothing."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.seconds = 0.0
        self.features = nn.Conv2d(3, 4, 32, stride=32)
        self.head = nn.Linear(4, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits after a while."""
        time.sleep(self.seconds)
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits


class Setting:
    """The data, the network and how they are run."""

    def __init__(self, data: ImageData, built: BuiltNetwork, arguments: argparse.Namespace) -> None:
        self.data = data
        self.built = built
        self.batch = arguments.batch
        self.size = built.native_size
        self.precision = arguments.precision
        self.batches = cut_batches(Block(0, 0, len(data)), self.batch)

    def decode(self) -> None:
        """Read every image with all cores, as the refresh does."""
        with Feed(self.data, self.size, threads=available_cores()) as feed:
            for number, rows in enumerate(self.batches):
                feed.take(rows, self.batches[number + 1 :])

    @torch.inference_mode()
    def forward(self) -> None:
        """Run the bare forward pass over as many images."""
        network = self.built.module.eval().to(memory_format=torch.channels_last)
        images = torch.randn(self.batch, 3, self.size, self.size)
        images = images.contiguous(memory_format=torch.channels_last)
        bf16 = choose_precision(self.precision, "cpu").name == "bf16"
        for _ in self.batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                network(images)

    def refresh(self) -> None:
        """Make and publish all maps."""
        source = DataSource(name=self.data.name)
        network = NetworkSource(name=self.built.name, num_classes=self.data.num_classes)
        options = RefreshOptions(batch_size=self.batch, precision=self.precision)
        with tempfile.TemporaryDirectory() as folder:
            plan = plan_refresh(
                source, network, Path(folder) / "c", options, opened=self.data, built=self.built
            )
            execute(plan, opened=self.data, built=self.built)


def repeated(folder: Path, num: int, place: Path) -> Path:
    """Fill `place` with links to the images of `folder`, each as often as makes `num` or more."""
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    for turn in range(-(-num // len(files))):
        for path in files:
            target = place / path.parent.name / f"{turn}-{path.name}"
            target.parent.mkdir(exist_ok=True)
            target.symlink_to(path.resolve())
    return place


def waiting(num_classes: int) -> BuiltNetwork:
    """Return the stand-in, which does not wait yet."""
    module = Waiting(num_classes)
    return BuiltNetwork(
        module=module,
        name="waiting",
        num_classes=num_classes,
        native_size=224,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        weights_kind="random",
        weights_digest=weights_digest(module),
    )


def compare(
    title: str,
    setting: Setting,
    arguments: argparse.Namespace,
    limit: Callable[[float, float], float],
) -> None:
    """Time parts and whole in turn and print them with the ratio to the limit."""
    parts = {"decode": setting.decode, "network": setting.forward, "refresh": setting.refresh}
    seconds = interleaved(parts, arguments.rounds, warm_up=0, clock=CLOCKS[arguments.clock])
    limits = [limit(*pair) for pair in zip(seconds["decode"], seconds["network"], strict=True)]
    print(f"\n{title}, batches of {setting.batch} at {setting.size}x{setting.size}\n")
    rows = [(name, Spread.of(values).text(2)) for name, values in seconds.items()]
    rows.append(("refresh / limit", ratios(seconds["refresh"], limits).text(3)))
    print(table(("part", f"{arguments.clock} seconds (quartiles)"), rows), flush=True)


def main() -> None:
    """Print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num", type=int, default=2000, help="repeat the images to this many")
    parser.add_argument("--network", default="examples/efficientnet_lite0.py:build")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "auto"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", default="wall", choices=list(CLOCKS), help="cpu: busy machine")
    parser.add_argument("--only", choices=["network", "waiting"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        name = str(repeated(arguments.folder, arguments.num, Path(folder)))
        data = DataSource(name=name).open()
        print(
            f"{len(data)} JPEGs, {available_cores()} cores, {torch.get_num_threads()} threads of "
            f"torch; python {platform.python_version()}, torch {version('torch')}, torchvision "
            f"{version('torchvision')}, simplejpeg {version('simplejpeg')}"
        )
        if arguments.only != "network":
            setting = Setting(data, waiting(data.num_classes), arguments)
            setting.decode()  # once for the disk cache, or the network would wait twice as long
            begun = time.perf_counter()
            setting.decode()
            spent = time.perf_counter() - begun
            module = setting.built.module
            module.seconds = spent / len(setting.batches)  # type: ignore[assignment]
            title = "a network that waits as long as decoding takes, limit: the slower of the two"
            compare(title, setting, arguments, max)
        if arguments.only != "waiting":
            source = NetworkSource(
                name=arguments.network, num_classes=data.num_classes, weights=arguments.weights
            )
            setting = Setting(data, source.build(), arguments)
            title = f"{arguments.network} in {arguments.precision}, limit: the sum of both"
            compare(title, setting, arguments, lambda decode, network: decode + network)


if __name__ == "__main__":
    main()
