"""tau-normalisation (Kang et al. 2020): the head's rows divided by the tau-th power of their norms.

Nothing is trained, and the bias is dropped. Which tau is best depends on the data; to take the best
one on the test images would flatter the method. So tau is given, or chosen on images kept out of
training, or not chosen: then the run's result stays that of the first stage, beside a curve.

Legend: N images, K classes, C features.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from loaders.image_data import ImageData
from pipeline.saliency.hooks import removing
from pipeline.training.evaluation import predict_run, score_run
from pipeline.training.head import head_of
from pipeline.training.setup import RunParts

TAUS: tuple[float, ...] = tuple(np.linspace(0, 2, 21).round(1).tolist())
"""The grid of the method's own code."""


def tau_normalised(weight_KC: Tensor, tau: float) -> Tensor:
    """Return w_k / ||w_k||^tau, (K, C); a row of zeros stays one."""
    norms_K1 = weight_KC.norm(dim=1, keepdim=True)
    return weight_KC / norms_K1.clamp_min(torch.finfo(weight_KC.dtype).tiny) ** tau


def apply_tau_norm(parts: RunParts, log: Callable[[str], None]) -> dict[str, Any]:
    """Normalise the run's head if there is a tau to do it by, and measure the whole grid.

    Returns:
        `tau` (None if none was given or chosen), `chosen_by` ("recipe", "holdout" or None), and
        `curve`: accuracies on the test images by tau, empty without test images.
    """
    options = parts.recipe.second_stage
    curve = [] if parts.test_data is None else _curve(parts, parts.test_data)
    tau, chosen_by = options.tau, "recipe" if options.tau is not None else None
    if options.holdout:
        held = _curve(parts, replace(parts.data_source, held_out=True).open())
        # Test images are as many a class; what is kept out is long-tailed as the training set is.
        tau, chosen_by = TAUS[np.argmax([point["balanced"] for point in held])], "holdout"
    if tau is not None:
        _normalise(parts, tau)
    for point in curve:
        log(f"tau {point['tau']:.1f}  " + _shares(point))
    log(f"tau-norm   {'no tau chosen' if tau is None else f'tau {tau:g}, by the {chosen_by}'}")
    return {"tau": tau, "chosen_by": chosen_by, "curve": curve}


@torch.no_grad()
def _normalise(parts: RunParts, tau: float) -> None:
    head = head_of(parts.built)
    head.weight.copy_(tau_normalised(head.weight, tau))
    if isinstance(head, nn.Linear) and head.bias is not None:
        head.bias.zero_()


def _curve(parts: RunParts, data: ImageData) -> list[dict[str, Any]]:
    """Measure every tau of the grid from one pass over the images."""
    features_NC = _features(parts, data)
    weight_KC = head_of(parts.built).weight.detach().float().cpu()
    points = []
    for tau in TAUS:
        logits_NK = features_NC @ tau_normalised(weight_KC, tau).T
        result, groups = score_run(parts, logits_NK, data.labels)
        points.append({"tau": tau, "top1": result.top1, "balanced": result.balanced, **groups})
    return points


def _features(parts: RunParts, data: ImageData) -> Tensor:
    seen: list[Tensor] = []

    def keep(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].float().cpu())

    with removing([head_of(parts.built).register_forward_pre_hook(keep)]):
        predict_run(parts, data)
    return torch.cat(seen)


def _shares(point: dict[str, Any]) -> str:
    return "  ".join(
        f"{name} {value:.1%}"
        for name, value in point.items()
        if name != "tau" and value is not None
    )
