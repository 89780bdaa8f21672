"""What a run tells of itself: who listens, what it begins with, and its lines for the user."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from cache_store.store import SaliencyStore
from loaders.batches import NO_GENERATION
from pipeline.training.accounts import shares
from pipeline.training.run_folder import Row, RunFolder
from pipeline.training.run_log import JsonLines, Lines, Sink
from pipeline.training.run_record import current_versions
from pipeline.training.setup import RunParts
from pipeline.training.tensor_board import TensorBoard


def run_sinks(
    folder: RunFolder, show: Callable[[str], None], *, tensorboard: bool, quiet: bool = False
) -> list[Sink]:
    """Return who listens to a run: the user, log.jsonl, and TensorBoard if wanted.

    Args:
        folder: The run folder; it must be there.
        show: Called with each line for the user.
        tensorboard: Whether to write for TensorBoard.
        quiet: Whether the user gets none but the final figures.

    Raises:
        TrainingError: If tensorboard is wanted and not installed, or log.jsonl can't be opened.
    """
    sinks: list[Sink] = [Lines(show, quiet=quiet)]
    if tensorboard:
        sinks.append(TensorBoard(folder.tensor_board))
    return [*sinks, JsonLines(folder.log_path)]


def run_facts(parts: RunParts, generation: int) -> dict[str, Any]:
    """Return what log.jsonl says of a process at its beginning.

    Args:
        parts: The run's parts.
        generation: That it begins with, 0 for none.
    """
    recipe = parts.recipe
    digest = None
    if generation != NO_GENERATION:
        digest = SaliencyStore.open(parts.cache).generation(generation).digest
    return {
        "name": recipe.name,
        "seed": recipe.seed,
        "recipe_digest": recipe.digest(),
        "epochs": recipe.num_epochs,
        "images": len(parts.train_data),
        "classes": parts.train_data.num_classes,
        "fingerprint": parts.train_data.fingerprint,
        "network": recipe.network.name,
        "method": recipe.augment.name,
        "device": parts.device.type,
        "precision": "bf16" if parts.bf16 else "fp32",
        "ranks": parts.ranks.size,
        "threads": torch.get_num_threads(),
        "workers": parts.loader.num_workers,
        "cache": parts.cache,
        "generation": generation,
        "generation_digest": digest,
        "versions": current_versions(),
    }


def epoch_facts(row: Row) -> dict[str, Any]:
    """Return what log.jsonl says of an epoch once it is measured; its refresh is still to come.

    Args:
        row: Its columns of metrics.csv.
    """
    facts = {**row, **shares(row)}
    return {name: value for name, value in facts.items() if not name.endswith("refresh")}


def refresh_facts(row: Row) -> dict[str, Any]:
    """Return what log.jsonl says of the refresh after an epoch, given its columns."""
    facts = {**row, **shares(row)}
    return {name: facts[name] for name in ("epoch", "seconds_refresh", "share_refresh")}


def epoch_line(row: Row, method: str) -> str:
    """Return an epoch's figures as a line.

    Args:
        row: From `epoch_facts`.
        method: The method's name.
    """
    parts = [f"loss {row['train_loss']:.3f}", f"lambda {row['lam']:.2f}"]
    if row.get("test_top1") is not None:
        parts.append(f"test {row['test_top1']:.1%}")
        named = ((name, row.get(f"test_{name}")) for name in ("many", "medium", "few"))
        parts += [f"{name} {value:.1%}" for name, value in named if value is not None]
    parts.append(f"{row['images_per_second']:.0f} images/s")
    parts.append(f"wait {row['share_wait']:.1%}")
    if method != "none":
        parts.append(f"{method} {row['share_method']:.2%}")
    return "  ".join(parts)


def summary_facts(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what log.jsonl says of a finished run: summary.json without its long lists."""
    long = ("per_class", "confused", "tau_norm", "pointing", "movement", "generations")
    return {name: value for name, value in summary.items() if name not in long}
