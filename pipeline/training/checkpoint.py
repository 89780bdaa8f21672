"""Checkpoints: whole files with everything that the next epoch depends on, read as data only."""

import io
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loaders.batches import NO_GENERATION
from pipeline.errors import RecipeError
from pipeline.refresh.whole_file import write_whole
from pipeline.training.run_folder import Row, RunFolder
from pipeline.training.stage import Stage

CHECKPOINT_VERSION = 2
"""Version of the checkpoint's fields; another one is refused."""
AVERAGED_STEPS = "n_averaged"
"""What AveragedModel calls its count, beside the network's names with "module." before them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a run stands at the end of an epoch."""

    epoch: int
    """0-based epoch that is done, -1 before the first."""
    generation: int = NO_GENERATION
    """Generation that this epoch's rectangles were drawn from, 0 for none."""
    generation_digest: str = ""
    """Its digest, so that a resumed run never goes on with other maps."""
    rows: tuple[Row, ...] = ()
    """metrics.csv up to this epoch."""


def save_checkpoint(
    folder: RunFolder, stage: Stage, progress: Progress, recipe_digest: str, keep: int
) -> Path:
    """Write the checkpoint of an epoch, then remove older ones beyond `keep`.

    Its "model" is the network that maps are made from: the one in training, with the factors of a
    second stage folded in. A moving average of its weights is in "stage", by AveragedModel's names.

    Returns:
        The checkpoint's path.
    """
    buffer = io.BytesIO()
    own = stage.state()
    with stage.folded():
        state = {"model": stage.network.state_dict(), "stage": own}
        torch.save(state | _rest(stage, progress, recipe_digest), buffer)
    path = folder.checkpoint_path(progress.epoch)
    write_whole(path, buffer.getvalue())
    for old in folder.checkpoint_paths()[:-keep]:
        old.unlink(missing_ok=True)
    return path


def _rest(stage: Stage, progress: Progress, recipe_digest: str) -> dict[str, Any]:
    return {
        "version": CHECKPOINT_VERSION,
        "optimizer": stage.optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "epoch": progress.epoch,
        "generation": progress.generation,
        "generation_digest": progress.generation_digest,
        "recipe_digest": recipe_digest,
        "rows": json.dumps(progress.rows),
    }


def read_average(path: Path) -> dict[str, Tensor] | None:
    """Return the moving average of the weights in a file, by the network's names.

    Args:
        path: A file that `read_weights` can read.

    Returns:
        Tensors on the CPU, or None for a file that holds no average: final weights, or a checkpoint
        of a stage without one.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    stage = state.get("stage")
    if not isinstance(stage, dict) or AVERAGED_STEPS not in stage:
        return None
    named = {name.removeprefix("module."): value for name, value in stage.items()}
    del named[AVERAGED_STEPS]
    return named


def load_checkpoint(path: Path, stage_of: Callable[[int], Stage], recipe_digest: str) -> Progress:
    """Put a checkpoint's state into its stage's network and optimiser, and torch's generator.

    Args:
        path: The checkpoint.
        stage_of: Returns the stage that an epoch belongs to.
        recipe_digest: Of the recipe that is to go on.

    Raises:
        RecipeError: If it can't be read, or belongs to another recipe.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        version = state["version"]
    except (OSError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise RecipeError(
            f"can't read checkpoint {path}: {str(error).splitlines()[0]}; remove it to resume "
            "from the one before"
        ) from error
    if version != CHECKPOINT_VERSION:
        raise RecipeError(
            f"checkpoint {path} has version {version}, this scae reads "
            f"{CHECKPOINT_VERSION}: begin anew with another --run"
        )
    if state["recipe_digest"] != recipe_digest:
        raise RecipeError(
            f"checkpoint {path} was made by another recipe than this one: compare with "
            f"{path.parent.parent / 'recipe.toml'}, or use another --run"
        )
    stage = stage_of(state["epoch"])
    stage.network.load_state_dict(state["model"])
    stage.load_state(state["stage"])
    stage.optimizer.load_state_dict(state["optimizer"])
    rng: Tensor = state["rng"]
    torch.set_rng_state(rng)
    return Progress(
        epoch=state["epoch"],
        generation=state["generation"],
        generation_digest=state["generation_digest"],
        rows=tuple(json.loads(state["rows"])),
    )
