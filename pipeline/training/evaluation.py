"""Accuracy of a run's network on its test images, and of any network on any."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loaders.class_groups import GROUPS, class_groups
from loaders.image_data import ImageData
from pipeline.training.metrics import Evaluation, predict, score
from pipeline.training.occlusion import occlusion_robustness
from pipeline.training.setup import RunParts
from pipeline.training.tested_network import TestedNetwork


def evaluate_run(
    parts: RunParts, *, stop: Callable[[], bool] = lambda: False
) -> tuple[Evaluation, dict[str, float | None]] | None:
    """Measure the network as it is, each rank on its share of the images.

    Args:
        parts: The run's parts.
        stop: Asked between batches whether to stop.

    Returns:
        The evaluation, and the mean accuracy of many, medium and few classes (None for a group
        without classes); None for a run without test images, and on all ranks but the first.

    Raises:
        Stopped: If `stop` said so on any rank.
    """
    data, ranks = parts.test_data, parts.ranks
    if data is None:
        return None
    share_NK = ranks.together(
        lambda: predict_run(parts, data, rows=ranks.share(len(data)), stop=stop)
    )
    shares = ranks.gathered(share_NK)
    if not shares:
        return None
    logits_NK = torch.cat(shares)
    return score_run(parts, logits_NK * parts.recipe.loss.logit_scale, data.labels)


def predict_run(
    parts: RunParts,
    data: ImageData,
    *,
    rows: range | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Tensor:
    """Return the logits of images by the run's network as it is, see `predict`."""
    return predict(
        parts.built.module,
        parts.built,
        data,
        size=parts.size,
        device=parts.device,
        bf16=parts.bf16,
        rows=rows,
        stop=stop,
    )


def score_run(
    parts: RunParts, logits_NK: Tensor, labels: NDArray[np.int64]
) -> tuple[Evaluation, dict[str, float | None]]:
    """Measure logits; return the evaluation, and accuracies of many, medium and few classes."""
    top5 = parts.recipe.evaluate.top5 != "no"
    return _score(logits_NK, labels, parts.train_data.class_counts, top5=top5)


def _score(
    logits_NK: Tensor,
    labels: NDArray[np.int64],
    trained_on: NDArray[np.int64] | None,
    *,
    top5: bool,
) -> tuple[Evaluation, dict[str, float | None]]:
    """Measure logits; groups of classes are None without counts of training images, (K,) int64."""
    result = score(logits_NK, labels)
    if not top5:
        result = replace(result, top5=None)
    if trained_on is None:
        return result, dict.fromkeys(GROUPS)
    groups = class_groups(trained_on)
    return result, {name: result.group(groups[name]) for name in GROUPS}


def evaluate_network(tested: TestedNetwork, *, occlusion: bool = False) -> dict[str, Any]:
    """Measure a network, a run's by exactly the steps of the run itself.

    Args:
        tested: Network and images.
        occlusion: Whether to measure occlusion robustness too.

    Returns:
        Shares in [0, 1] by name, None where there is none: loss (mean cross entropy), top1, top5,
        balanced, ece, many, medium, few, `per_class` (name, images, top1), and maybe `occlusion`.

    Raises:
        ImageReadError: If an image can't be read.
        NetworkError: With `occlusion`, if the network can't be explained.
    """
    built, data = tested.built, tested.data
    logits_NK = predict(
        built.module, built, data, size=tested.size, device=tested.device, bf16=tested.bf16
    )
    result, groups = _score(
        logits_NK * tested.logit_scale, data.labels, tested.class_counts, top5=tested.top5
    )
    measured = _fields(data, result) | groups
    if occlusion:
        measured["occlusion"] = occlusion_robustness(
            built,
            data,
            size=tested.size,
            device=tested.device,
            bf16=tested.bf16,
            target_layer=tested.target_layer,
            seed=tested.seed,
        )
    return measured


def _fields(data: ImageData, result: Evaluation) -> dict[str, Any]:
    counts = data.class_counts.tolist()
    return {
        "loss": result.loss,
        "top1": result.top1,
        "top5": result.top5,
        "balanced": result.balanced,
        "ece": result.ece,
        "per_class": [
            {"name": name, "images": count, "top1": share if count else None}
            for name, count, share in zip(data.class_names, counts, result.per_class, strict=True)
        ],
    }
