"""Maps out of training's own steps: what they cost, and how far they lie from true ones.

Run: .venv/bin/python -P benchmarks/harvest.py FOLDER
(FOLDER holds CIFAR-10 as class folders, train/ and test/; without it: the embedded shapes)

One run with refresh.mode = "harvest", all in one process. After each epoch a true refresh of the
same weights goes into a cache of its own: by how much the two differ, beside true maps of one to
four epochs before. Costs are processor time of the whole process (all threads): the harvest's part
in the steps, its merging, its publication, and SCAE's own code in the loader, as shares of what
remains of an epoch; beside them, a true refresh, by the same clock.
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_store.generation import Generation
from loaders.canonical import CanonicalCells, to_canonical
from loaders.decode import read_resized
from loaders.geometry import CropFlip, CropParams
from pipeline.refresh.compare import MapComparison, compare_generations
from pipeline.refresh.job import execute
from pipeline.refresh.map_distances import rank_correlations
from pipeline.refresh.plan import plan_refresh
from pipeline.saliency.quantise import quantise
from pipeline.saliency.step_maps import StepMaps
from pipeline.training.checkpoint import read_state
from pipeline.training.harvest import Harvest
from pipeline.training.recipe import Recipe
from pipeline.training.recipe_file import load_recipe
from pipeline.training.refresh_step import run_options
from pipeline.training.run_folder import RunFolder
from pipeline.training.setup import RunParts, build_parts, network_source
from pipeline.training.trainer import TrainOptions, train

LAGS = (1, 2, 4)
"""Ages of the true maps that harvested ones are compared with, in epochs."""
CAUSE_ROWS = 2048
"""Images that causes are told apart on."""
INTERVAL = 4
"""R of the true refreshes whose cost is told."""


def make_recipe(arguments: argparse.Namespace) -> Recipe:
    """Return the run: all of its checkpoints are kept."""
    folder = arguments.folder
    words = [f"data.name={folder.absolute()}", "data.imbalance=100"] if folder else []
    return load_recipe(
        None if folder else Path("recipes/shapes.toml"),
        [
            *words, "data.evaluate=false", f"network.name={arguments.network}",
            f"train.epochs={arguments.epochs}", f"train.keep_checkpoints={arguments.epochs}",
            "refresh.mode=harvest", "refresh.interval=0", "refresh.precision=auto",
            *arguments.set,
        ],
    )  # fmt: skip


def epochs_clock(seconds: list[float]) -> Callable[[str], Callable[[int, int], None]]:
    """Return what the trainer shows its steps to: the last one moves an epoch's end."""

    def begin(_label: str) -> Callable[[int, int], None]:
        seconds.append(0.0)
        begun = time.process_time()

        def show(_done: int, _total: int) -> None:
            seconds[-1] = time.process_time() - begun

        return show

    return begin


def published(
    parts: RunParts, folder: RunFolder, epochs: int
) -> tuple[list[Generation], list[float]]:
    """Publish what each checkpoint says was seen; return it, and what each publication takes.

    The trainer does the same, but after the last epoch, which no other one draws from.
    """
    harvest, made, seconds = Harvest(parts), [], []
    for epoch in range(epochs):
        state = read_state(folder.checkpoint_path(epoch))
        parts.built.module.load_state_dict(state["model"])
        harvest.load_state([], state["harvest"])
        begun = time.process_time()
        report, _ = harvest.publish(folder, epoch)
        seconds.append(time.process_time() - begun)
        made.append(report.generation)
    return made, seconds


def true_maps(
    parts: RunParts, folder: RunFolder, epochs: int, cache: Path
) -> tuple[list[Generation], list[float]]:
    """Return the maps of true refreshes of each checkpoint's weights, and what each takes."""
    source = network_source(parts.recipe, parts.built.num_classes)
    made, seconds = [], []
    for epoch in range(epochs):
        begun = time.process_time()
        weights = str(folder.checkpoint_path(epoch))
        plan = plan_refresh(
            parts.data_source,
            replace(source, weights=weights),
            cache,
            run_options(parts, epoch),
            opened=parts.train_data,
        )
        made.append(execute(plan, opened=parts.train_data).generation)
        seconds.append(time.process_time() - begun)
    return made, seconds


def told(found: MapComparison) -> str:
    """Return rank correlation and distance as two cells."""
    return f"{found.rank_correlation or 0:.3f} | {found.tv_distance:.3f}"


def fidelity(harvested: list[Generation], true: list[Generation], lam: float) -> None:
    """Print how far maps lie from the true ones of the same weights."""
    heads = "".join(f" | true, {lag} old: Spearman | TV" for lag in LAGS)
    print(f"\n| after epoch | harvested: Spearman | TV{heads} |")
    print("| --- |" + " --- |" * (2 + 2 * len(LAGS)))
    for epoch, (ours, truth) in enumerate(zip(harvested, true, strict=True)):
        cells = [told(compare_generations(ours, truth, lam=lam, num_worst=0))]
        for lag in LAGS:
            known = epoch >= lag
            cells.append(
                told(compare_generations(true[epoch - lag], truth, lam=lam, num_worst=0))
                if known
                else " | "
            )
        print(f"| {epoch} | " + " | ".join(cells) + " |")


def causes(parts: RunParts, folder: RunFolder, epoch: int) -> None:
    """Print how much a map changes by what a view differs in from the whole image, by itself.

    Means of Spearman's coefficient over the cells that the view shows whole, of `CAUSE_ROWS`
    images, against the map of the whole image in eval mode by the same weights.
    """
    module = parts.built.module
    state = read_state(folder.checkpoint_path(epoch))
    module.load_state_dict(state["model"])
    rng = np.random.default_rng(0)
    rows_M = np.sort(rng.choice(len(parts.train_data), CAUSE_ROWS, replace=False))
    images_MSS3 = read_resized(parts.train_data, rows_M, parts.size).permute(0, 2, 3, 1).numpy()
    labels_M = torch.from_numpy(parts.train_data.labels[rows_M])
    geometry = CropFlip(parts.size)

    def maps(params: CropParams, *, training: bool = False, box: int = 0) -> CanonicalCells:
        pixels = torch.from_numpy(geometry.apply_arrays(images_MSS3, params)).float() / 255
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (parts.built.mean, parts.built.std))
        inputs = (pixels - mean) / std
        if box:
            inputs[:, :, :box, :box] = 0
        found_Mhw = maps_of(module, inputs, labels_M, parts, training=training)
        views = geometry.views(params, (parts.size, parts.size))
        return to_canonical(found_Mhw, None, views, found_Mhw.shape[1:])

    truth = maps(crops(0, 0, flip=False)).values
    print("\n| by itself | Spearman |\n| --- | --- |")
    cases: dict[str, CanonicalCells] = {
        "mirrored": maps(crops(0, 0, flip=True)),
        **{f"shifted by {n} pixels each way": maps(crops(n, n, flip=False)) for n in (1, 2, 4)},
        "mirrored and shifted by 2": maps(crops(2, 2, flip=True)),
        "BatchNorm by the batch": maps(crops(0, 0, flip=False), training=True),
        "a quarter of the side erased in a corner": maps(
            crops(0, 0, flip=False), box=parts.size // 4
        ),
    }
    for name, found in cases.items():
        shown = found.coverage[0] > 0.99
        pair = [quantise(v.astype(np.float32))[:, shown][:, None] for v in (found.values, truth)]
        print(f"| {name} | {np.nanmean(rank_correlations(pair[0], pair[1])):.3f} |")


def crops(top: int, left: int, *, flip: bool) -> CropParams:
    """Return the same crop for all images."""
    fill = np.full(CAUSE_ROWS, 1)
    size = 32
    return CropParams(
        tops=top * fill,
        lefts=left * fill,
        heights=size * fill,
        widths=size * fill,
        flips=fill * flip == 1,
    )


def maps_of(
    module: torch.nn.Module, inputs: Tensor, labels: Tensor, parts: RunParts, *, training: bool
) -> NDArray[np.float32]:
    """Return the maps of images by their steps' way, in eval mode or with BatchNorm's batches."""
    steps = StepMaps(module, None, size=parts.size, num_classes=parts.built.num_classes)
    found = []
    buffers = {name: value.clone() for name, value in module.named_buffers()}
    module.train(training)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    for start in range(0, len(order), 128):
        rows = order[start : start + 128]
        with torch.no_grad(), steps.listening():
            logits = module(inputs[rows].contiguous(memory_format=torch.channels_last))
        found.append(steps.take(logits, labels[rows]).numpy())
    for name, value in module.named_buffers():
        value.copy_(buffers[name])
    maps_Mhw = np.empty((len(inputs), *found[0].shape[1:]), np.float32)
    maps_Mhw[order.numpy()] = np.concatenate(found)
    return maps_Mhw


def coverage(folder: RunFolder, epochs: int) -> None:
    """Print which share of the samples has maps over half and over three quarters of its cells."""
    print("\n| after epoch | over half of the cells | over three quarters |\n| --- | --- | --- |")
    for epoch in range(min(epochs, 4)):
        state = read_state(folder.checkpoint_path(epoch))
        shown_N = (state["harvest"]["epochs"] >= 0).float().mean(dim=(1, 2))
        half, most = (float((shown_N >= share).float().mean()) for share in (0.5, 0.75))
        print(f"| {epoch} | {half:.2%} | {most:.2%} |")


def costs(rows: list[dict[str, str]], epochs: list[float], parts: dict[str, list[float]]) -> None:
    """Print the shares of processor time."""
    own = {
        "harvest in the steps": [float(row["seconds_harvest"]) for row in rows],
        "SCAE's code in the loader": [float(row["seconds_method"]) for row in rows],
    }
    plain = [
        whole - sum(values[epoch] for values in own.values()) for epoch, whole in enumerate(epochs)
    ]
    mean = statistics.fmean(plain)
    publishing, refresh = parts["publication"], parts["a true refresh"]
    print("\n| | processor time | of a plain epoch |\n| --- | --- | --- |")
    for name, values in {"a plain epoch": plain, **own, **parts}.items():
        share = statistics.fmean(values) / mean
        print(f"| {name} | {statistics.fmean(values):.3f} s | {share:.2%} |")
    maps = statistics.fmean(own["harvest in the steps"]) + statistics.fmean(publishing)
    loader = statistics.fmean(own["SCAE's code in the loader"])
    by_pass = statistics.fmean(refresh) / INTERVAL
    print(f"\nall of it: {(maps + loader) / mean:.2%} of the plain step")
    print(
        f"maps alone: {maps / mean:.2%}, by a pass every {INTERVAL} epochs {by_pass / mean:.2%}: "
        f"{by_pass / maps:.1f} times as much"
    )


def main() -> None:
    """Train, refresh and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--network", default="resnet32")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lambda", dest="lam", type=float, default=2.0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    print(
        f"python {platform.python_version()}, torch {version('torch')}, numpy {version('numpy')}, "
        f"{torch.get_num_threads()} threads, {arguments.network}, {arguments.epochs} epochs; means"
    )
    recipe = make_recipe(arguments)
    clock: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        options = TrainOptions(
            run=Path(name) / "run", log=lambda _line: None, progress=epochs_clock(clock)
        )
        folder, epochs = train(recipe, options), recipe.train.epochs
        parts = build_parts(recipe, Path(name) / "harvested")
        harvested, publications = published(parts, folder, epochs)
        true, refreshes = true_maps(parts, folder, epochs, Path(name) / "true")
        fidelity(harvested, true, arguments.lam)
        coverage(folder, epochs)
        causes(parts, folder, epochs - 1)
        costs(folder.metrics(), clock, {"publication": publications, "a true refresh": refreshes})


if __name__ == "__main__":
    main()
