"""What `scae watch` follows in a run folder: all of it is in the resolved recipe."""

from pathlib import Path
from typing import Literal

from pipeline.errors import RecipeError
from pipeline.refresh.watch_followed import Followed
from pipeline.training.recipe_file import load_recipe
from pipeline.training.refresh_step import refresh_options, refresh_policy
from pipeline.training.run_folder import RunFolder
from pipeline.training.setup import network_source, training_source


def followed_run(
    run: str | Path, device: Literal["auto", "cpu", "cuda"] | None = None
) -> Followed | None:
    """Open what a run folder's checkpoints belong to; None if the run has not begun.

    The plans that come of it are those of the trainer itself, so the two never make the same maps
    twice.

    Args:
        run: Folder of `scae train`.
        device: Where to compute; None as the recipe says.

    Raises:
        RecipeError: If the recipe can't be read, or says that the trainer alone knows when to
            refresh.
        DataError: If the data can't be opened; relative paths count from the current folder.
    """
    folder = RunFolder(run)
    if not folder.recipe_path.is_file():
        return None
    recipe = load_recipe(folder.recipe_path)
    if recipe.refresh.when == "adaptive":
        raise RecipeError(
            f"{folder.recipe_path}: refresh.when must be 'interval' for a watcher, got 'adaptive': "
            "only the trainer knows how far its maps have moved; it makes them itself, or lets a "
            "cluster do so by refresh.executor = 'dask'"
        )
    source = training_source(recipe)
    opened = source.open()
    return Followed(
        data=source,
        opened=opened,
        network=network_source(recipe, opened.num_classes),
        options=refresh_options(recipe, device=device or recipe.train.device),
        policy=refresh_policy(recipe),
    )
