"""How long a start takes: opening a large folder with and without an index, and a run's first step.

Folders of many tiny JPEGs (hard links, named as ImageNet's are) are made and removed again. First,
opening them: by listing, by an index, and as torchvision's ImageFolder, which notes no sizes. Then
whole processes, from the command to the end of the first training step: `scae train`, and the least
that any program has to do, which is to import torch and torchvision and do such a step.

Run: .venv/bin/python -P benchmarks/start_time.py CIFAR10  (train/ and test/ with folders of JPEGs)
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from loaders.folder_data import FolderData
from loaders.index_folder import FOLDER_VARIABLE, OFF
from loaders.listing import SETTLED_NS
from pipeline.bench.rounds import Spread, interleaved, ratios
from pipeline.bench.tables import table

NUM_CLASSES = 1000
SMALL, IMAGENET = 100_000, 1_281_167
SIZES = 8
"""Different files a class, each with many names."""
BATCH = 16
"""Images of a step of ResNet-18 at 224x224, which takes half a second on two cores."""
RECIPE = "recipes/cifar10_lt.toml"


def make_tree(place: Path, num: int) -> Path:
    """Make `num` JPEGs in a thousand class folders, and wait until the folders' times settle."""
    rng = np.random.default_rng(0)
    shares = np.bincount(np.arange(num) % NUM_CLASSES, minlength=NUM_CLASSES).tolist()
    for label, share in enumerate(shares):
        folder = place / f"n{label:08d}"
        folder.mkdir(parents=True)
        names = [f"{folder}/n{label:08d}_{number}.JPEG" for number in range(share)]
        for number, name in enumerate(names):
            if number < SIZES:
                Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).save(name)
            else:
                os.link(names[number % SIZES], name)
    time.sleep(2 * SETTLED_NS / 1e9)  # folders that have just changed are listed again
    return place


@contextmanager
def index_folder(folder: str) -> Iterator[None]:
    """Keep index files there meanwhile."""
    before = os.environ.get(FOLDER_VARIABLE)
    os.environ[FOLDER_VARIABLE] = folder
    try:
        yield
    finally:
        os.environ.pop(FOLDER_VARIABLE)
        if before is not None:
            os.environ[FOLDER_VARIABLE] = before


def open_data(root: Path, indexes: str) -> None:
    """Open a folder as every start does, its fingerprint included."""
    with index_folder(indexes):
        _ = FolderData(root).fingerprint


def open_as_torchvision(root: Path) -> None:
    """Open it by the class that people use."""
    from torchvision.datasets import ImageFolder

    ImageFolder(str(root))


def first_start(root: Path, indexes: Path) -> None:
    """Open it with no index there, and keep one."""
    for path in indexes.glob("*.index"):
        path.unlink()
    open_data(root, str(indexes))


def compare_opening(root: Path, num: int, indexes: Path, rounds: int) -> None:
    """Time all ways to open a folder in turn."""
    contenders: dict[str, Callable[[], object]] = {
        "torchvision ImageFolder": partial(open_as_torchvision, root),
        "scae, listing (no index)": partial(open_data, root, OFF),
        "scae, first start (listing, index written)": partial(first_start, root, indexes),
        "scae, later start (index)": partial(open_data, root, str(indexes)),
    }
    open_data(root, str(indexes))
    seconds = interleaved(contenders, rounds)
    indexed = seconds["scae, later start (index)"]
    rows = [
        (name, Spread.of(values).text(2), ratios(values, indexed).text(1))
        for name, values in seconds.items()
    ]
    print(f"\nOpening {num:,} files in {NUM_CLASSES} class folders, file names in memory\n")
    print(table(("way", "seconds (quartiles)", "times the index"), rows), flush=True)


def step_scae(arguments: list[str]) -> None:
    """Run `scae train` in this process to the end of the first step."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from cli.main import main as scae

    register_optimizer_step_post_hook(lambda *_: tell_and_end())
    scae(arguments)


def step_bare(network: str) -> None:
    """Import torch and torchvision and do one step on random images."""
    import torch
    import torchvision

    from pipeline.saliency.cifar_resnet import CifarResNet

    if network == "resnet18":
        module = torchvision.models.resnet18(num_classes=NUM_CLASSES)
        images = torch.randn(BATCH, 3, 224, 224)
    else:
        module, images = CifarResNet(depth=32, num_classes=10), torch.randn(128, 3, 32, 32)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    module(images).square().mean().backward()
    optimizer.step()
    tell_and_end()


def tell_and_end() -> None:
    """Print the time and the peak of memory, and end the process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(f"first step {time.time()} {peak}", flush=True)
    raise SystemExit(0)


def first_step(kind: str, arguments: list[str], indexes: str, peaks: list[float]) -> float:
    """Return the seconds from the start of a process to the end of its first training step.

    Args:
        kind: "scae" or "bare".
        arguments: Of `scae`, or the bare process' network.
        indexes: Folder of index files, or `OFF`.
        peaks: Is given the process' peak of memory in MB.
    """
    command = [sys.executable, "-P", __file__, "--child", kind, *arguments]
    begun = time.time()
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, FOLDER_VARIABLE: indexes},
        check=False,
    )
    told = [line.split() for line in done.stdout.splitlines() if line.startswith("first step ")]
    if len(told) != 1:
        raise SystemExit(f"no first step: {done.stdout}{done.stderr}")
    peaks.append(float(told[0][3]))
    return float(told[0][2]) - begun


def compare_first_steps(cifar: Path, big: Path, indexes: Path, rounds: int) -> None:
    """Time processes in turn, each with a run folder of its own."""
    lt = ["train", "--recipe", RECIPE, "--data", str(cifar)]
    imagenet = ["train", "--data", str(big), "--network", "torchvision:resnet18"]
    imagenet += ["--set", f"train.batch_size={BATCH}", "--set", "data.evaluate=false"]
    processes = {
        "bare, ResNet-32, CIFAR-10's size": ("bare", ["resnet32"], OFF),
        "scae train, CIFAR-10-LT (bar: 20 s)": ("scae", lt, str(indexes)),
        "bare, ResNet-18, 224x224": ("bare", ["resnet18"], OFF),
        "scae train, large folder, index (bar: 25 s)": ("scae", imagenet, str(indexes)),
        "scae train, large folder, listing": ("scae", imagenet, OFF),
    }
    seconds: dict[str, list[float]] = {name: [] for name in processes}
    peaks: dict[str, list[float]] = {name: [] for name in processes}
    open_data(cifar, str(indexes))
    for number in range(rounds):
        turn = number % len(processes)
        names = list(processes)
        for name in names[turn:] + names[:turn]:
            kind, arguments, place = processes[name]
            with tempfile.TemporaryDirectory() as run:
                folder = ["--run", run] if kind == "scae" else []
                took = first_step(kind, [*arguments, *folder], place, peaks[name])
            seconds[name].append(took)
    rows = [
        (name, Spread.of(values).text(2), f"{max(peaks[name]):.0f}")
        for name, values in seconds.items()
    ]
    print("\nFrom the command to the end of the first training step\n")
    print(table(("process", "seconds (quartiles)", "peak of memory, MB"), rows), flush=True)


def main() -> None:
    """Print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cifar", type=Path)
    parser.add_argument("--num", type=int, nargs="+", default=[SMALL, IMAGENET])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--place", type=Path, help="room for the folders, a file name each")
    arguments = parser.parse_args()
    print(
        f"{os.cpu_count()} cores; python {platform.python_version()}, torch {version('torch')}, "
        f"torchvision {version('torchvision')}, numpy {version('numpy')}"
    )
    for num in sorted(arguments.num):
        with tempfile.TemporaryDirectory(dir=arguments.place) as place:
            indexes = Path(place, "indexes")
            root = make_tree(Path(place, "data"), num)
            compare_opening(root, num, indexes, arguments.rounds)
            if num == max(arguments.num):
                compare_first_steps(arguments.cifar, root, indexes, arguments.rounds)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        if sys.argv[2] == "scae":
            step_scae(sys.argv[3:])
        step_bare(sys.argv[3])
    else:
        main()
