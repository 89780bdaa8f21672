"""Accuracy of a run's network on its test images."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from loaders.class_groups import GROUPS, class_groups
from pipeline.training.metrics import Evaluation, predict, score
from pipeline.training.setup import RunParts


def evaluate_run(parts: RunParts) -> tuple[Evaluation, dict[str, float | None]] | None:
    """Measure the network as it is.

    Returns:
        The evaluation, and the mean accuracy of many, medium and few classes (None for a group
        without classes); None for a run without test images.
    """
    if parts.test_data is None:
        return None
    logits_NK = predict(
        parts.built.module,
        parts.built,
        parts.test_data,
        size=parts.size,
        device=parts.device,
        bf16=parts.bf16,
    )
    return score_run(parts, logits_NK * parts.recipe.loss.logit_scale, parts.test_data.labels)


def score_run(
    parts: RunParts, logits_NK: Tensor, labels: NDArray[np.int64]
) -> tuple[Evaluation, dict[str, float | None]]:
    """Measure logits; return the evaluation, and accuracies of many, medium and few classes."""
    result = score(logits_NK, labels)
    if parts.recipe.evaluate.top5 == "no":
        result = replace(result, top5=None)
    groups = class_groups(parts.train_data.class_counts)
    return result, {name: result.group(groups[name]) for name in GROUPS}
