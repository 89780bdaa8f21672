"""Checkpoints: whole files with everything that the next step depends on, read as data only.

One is written after every epoch. One in the middle of an epoch lies beside them under a name of its
own, so that whoever follows a run takes finished epochs only; it counts until its epoch is done.
"""

import io
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loaders.batches import NO_GENERATION
from pipeline.errors import RecipeError, TrainingError
from pipeline.refresh.whole_file import write_whole
from pipeline.training.epoch_sums import added_up
from pipeline.training.harvest import Harvest
from pipeline.training.ranks import Ranks
from pipeline.training.run_folder import Row, RunFolder
from pipeline.training.stage import Stage

CHECKPOINT_VERSION = 3
"""Version of the checkpoint's fields; another one is refused."""
AVERAGED_STEPS = "n_averaged"
"""What AveragedModel calls its count, beside the network's names with "module." before them."""


logger = logging.getLogger("scae")


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a run stands at the end of an epoch, or in the middle of the following one."""

    epoch: int
    """0-based epoch that is done, -1 before the first."""
    generation: int = NO_GENERATION
    """Generation that the rectangles of this epoch, or of the one that has begun, are drawn from, 0
    for none."""
    generation_digest: str = ""
    """Its digest, so that a resumed run never goes on with other maps."""
    rows: tuple[Row, ...] = ()
    """metrics.csv up to this epoch."""
    loader: dict[str, Any] | None = None
    """Where the batches of the following epoch stand, the same on every rank; None if it has not
    begun."""
    seen: dict[str, Any] | None = None
    """What this rank has summed of it."""

    @property
    def under_way(self) -> int:
        """Return the 0-based epoch that the network's weights are from."""
        return self.epoch + (self.loader is not None)


def save_checkpoint(
    folder: RunFolder,
    stage: Stage,
    progress: Progress,
    recipe_digest: str,
    *,
    keep: int,
    ranks: Ranks,
    harvest: Harvest | None = None,
) -> None:
    """Write the checkpoint of an epoch, or of the middle of one; all ranks must call this together.

    Its "model" is the network that maps are made from: the one in training, with the factors of a
    second stage folded in. A moving average of its weights is in "stage", by AveragedModel's names.
    Once an epoch's own checkpoint is there, those before it but `keep` are removed.

    Raises:
        TrainingError: On every rank, if the file can't be written.
    """
    own: dict[str, Any] = {"generators": _generators(), "seen": progress.seen}
    whole: dict[str, Any] = {}
    if harvest is not None:
        own["harvest"] = harvest.rank_state()
        whole["harvest"] = harvest.merged_state()
    whole["ranks"] = ranks.gathered(own)
    ranks.from_first(lambda: _write(folder, stage, progress, recipe_digest, whole, keep))


def _write(
    folder: RunFolder,
    stage: Stage,
    progress: Progress,
    recipe_digest: str,
    whole: dict[str, Any],
    keep: int,
) -> None:
    buffer = io.BytesIO()
    own = stage.state()
    with stage.folded():
        state = {"model": stage.network.state_dict(), "stage": own, **whole}
        torch.save(state | _rest(stage, progress, recipe_digest), buffer)
    finished = progress.loader is None
    path = folder.checkpoint_path(progress.epoch) if finished else folder.middle_path
    try:
        write_whole(path, buffer.getvalue())
    except OSError as error:
        raise TrainingError(
            f"can't write checkpoint {path}: {error.strerror}; make room, then go on from the last "
            "one with the same command and --resume"
        ) from error
    logger.debug("wrote checkpoint %s, %d bytes", path, buffer.getbuffer().nbytes)
    if finished:
        folder.middle_path.unlink(missing_ok=True)
        for old in folder.checkpoint_paths()[:-keep]:
            old.unlink(missing_ok=True)


def _generators() -> list[Tensor]:
    """Return the states of torch's generators: the processor's, and that of this rank's GPU."""
    gpu = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *gpu]


def _set_generators(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1 and torch.cuda.is_available():
        torch.cuda.set_rng_state(states[1])


def _rest(stage: Stage, progress: Progress, recipe_digest: str) -> dict[str, Any]:
    return {
        "version": CHECKPOINT_VERSION,
        "optimizer": stage.optimizer.state_dict(),
        "loader": progress.loader,
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


def newest_checkpoint(folder: RunFolder) -> Path | None:
    """Return the checkpoint that a run goes on from, None if there is none.

    Raises:
        RecipeError: If it can't be read.
    """
    finished, middle = folder.checkpoint_paths(), folder.middle_path
    newest = finished[-1] if finished else None
    if not middle.is_file():
        return newest
    begun = Progress(epoch=read_state(middle)["epoch"])
    expected = None if begun.epoch < 0 else folder.checkpoint_path(begun.epoch)
    return middle if newest == expected else newest


def load_checkpoint(
    path: Path,
    stage_of: Callable[[int], Stage],
    recipe_digest: str,
    ranks: Ranks,
    harvest: Harvest | None = None,
) -> Progress:
    """Put a checkpoint's state into its stage's network and optimiser, and torch's generators.

    Args:
        path: The checkpoint.
        stage_of: Returns the stage that an epoch belongs to.
        recipe_digest: Of the recipe that is to go on.
        ranks: Where there were as many, each goes on with its own generator and sums; else the
            first one takes over the sums of all.
        harvest: Goes on with what was harvested; None for a run that does not.

    Raises:
        RecipeError: If it can't be read, or belongs to another recipe.
    """
    state = read_state(path)
    if state["recipe_digest"] != recipe_digest:
        raise RecipeError(
            f"checkpoint {path} was made by another recipe than this one: compare with "
            f"{path.parent.parent / 'recipe.toml'}, or use another --run"
        )
    progress = Progress(
        epoch=state["epoch"],
        generation=state["generation"],
        generation_digest=state["generation_digest"],
        rows=tuple(json.loads(state["rows"])),
        loader=state["loader"],
        seen=_taken_over(state["ranks"], ranks),
    )
    stage = stage_of(progress.under_way)
    stage.network.load_state_dict(state["model"])
    stage.load_state(state["stage"])
    stage.optimizer.load_state_dict(state["optimizer"])
    if len(state["ranks"]) == ranks.size:
        _set_generators(state["ranks"][ranks.rank]["generators"])
    if harvest is not None:
        of_ranks = [one["harvest"] for one in state["ranks"]]
        same = len(of_ranks) == ranks.size
        mine = [of_ranks[ranks.rank]] if same else of_ranks if ranks.leads else []
        harvest.load_state(mine, state["harvest"])
    return progress


def _taken_over(states: list[dict[str, Any]], ranks: Ranks) -> dict[str, Any] | None:
    seen = [state["seen"] for state in states]
    if len(seen) == ranks.size:
        return seen[ranks.rank]
    return added_up(seen) if ranks.leads and seen[0] is not None else None


def read_state(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds, with tensors on the CPU.

    Raises:
        RecipeError: If it can't be read, or is of another version.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        version = state["version"]
    except Exception as error:  # broken files make the reader raise almost anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RecipeError(
            f"can't read checkpoint {path}: {reason}; remove it to resume from the one before"
        ) from error
    if version != CHECKPOINT_VERSION:
        raise RecipeError(
            f"checkpoint {path} has version {version}, this scae reads "
            f"{CHECKPOINT_VERSION}: begin anew with another --run"
        )
    return state
