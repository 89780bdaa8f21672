"""Accuracy of a run's network on its test images."""

from loaders.class_groups import GROUPS, class_groups
from pipeline.training.metrics import Evaluation, evaluate
from pipeline.training.setup import RunParts


def evaluate_run(parts: RunParts) -> tuple[Evaluation, dict[str, float | None]] | None:
    """Measure the network as it is.

    Returns:
        The evaluation, and the mean accuracy of many, medium and few classes (None for a group
        without classes); None for a run without test images.
    """
    if parts.test_data is None:
        return None
    result = evaluate(
        parts.built.module,
        parts.built,
        parts.test_data,
        size=parts.size,
        device=parts.device,
        bf16=parts.bf16,
    )
    groups = class_groups(parts.train_data.class_counts)
    return result, {name: result.group(groups[name]) for name in GROUPS}
