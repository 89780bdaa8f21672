"""The first stage of a run: the training proper."""

from pipeline.training.losses.objective import build_objective
from pipeline.training.schedule import learning_rate
from pipeline.training.setup import RunParts
from pipeline.training.stage import Stage
from pipeline.training.weight_average import weight_average


def first_stage(parts: RunParts) -> Stage:
    """Return the training of all weights by the recipe's loss, on the erasing loader's batches."""
    recipe = parts.recipe
    objective = build_objective(recipe.loss, parts.train_data.class_counts, recipe.train.epochs)
    stage = Stage(
        number=1,
        epochs=range(recipe.train.epochs),
        network=parts.built.module,
        objective=objective.to(parts.device),
        optimizer=parts.optimizer,
        loader=parts.loader,
        learning_rate=lambda epoch: learning_rate(recipe.train, epoch),
        lam=parts.guidance,
        average=weight_average(parts.built.module, recipe.train.ema),
    )
    return stage.over(parts.ranks, parts.size)
