"""The learning rate by epoch: a pure function, so that resuming needs no state."""

import math

from pipeline.training.recipe import TrainRecipe


def learning_rate(train: TrainRecipe, epoch: int) -> float:
    """Return the learning rate of a 0-based epoch.

    Linear over the warm-up epochs, then in steps at the milestones, as torch's MultiStepLR, or half
    a cosine from `lr` to `lr_min`, which the last epoch reaches but for one step, as torch's
    CosineAnnealingLR with T_max = epochs.
    """
    if epoch < train.warmup_epochs:
        return train.lr * (epoch + 1) / (train.warmup_epochs + 1)
    if train.schedule == "step":
        return train.lr * train.step_factor ** sum(epoch >= one for one in train.milestones)
    span = train.epochs - train.warmup_epochs
    done = (epoch - train.warmup_epochs) / span
    return train.lr_min + (train.lr - train.lr_min) * (1 + math.cos(math.pi * done)) / 2
