"""Second stages of decoupled training: cRT, LWS and MiSLAS, all with a frozen backbone.

Kang et al. 2020 ("Decoupling representation and classifier") and Zhong et al. 2021 (MiSLAS).
"""

import copy
import math
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.optim import SGD

from loaders.methods.method import Method
from loaders.methods.scae import Scae
from pipeline.saliency.cifar_resnet import NormedLinear
from pipeline.training.class_aware import ClassAware
from pipeline.training.head import head_of
from pipeline.training.logit_scaling import LogitScaling
from pipeline.training.losses.cross_entropy import CrossEntropy
from pipeline.training.losses.label_aware import LabelAwareSmoothing, smoothing_by_class
from pipeline.training.losses.objective import Objective
from pipeline.training.second_stage_options import SCALED, SecondStageRecipe
from pipeline.training.setup import RunParts, run_loader
from pipeline.training.stage import Stage

HEAD_PURPOSE = 0x4EAD
"""Sets the numbers of a new head apart from those of the network's first weights."""


def second_stage(parts: RunParts) -> Stage:
    """Freeze the network as it is, but for what the recipe's second stage trains.

    - crt: a new head, by cross entropy;
    - lws: one factor a class on the logits, everything else frozen;
    - mislas: head and factors, with label-aware smoothing.

    Returns:
        The stage; its batches are class-aware, and neither erased nor mixed unless the recipe's
        `second_stage.augment` says so.
    """
    options, train = parts.recipe.second_stage, parts.recipe.train
    network, head = parts.built.module, head_of(parts.built)
    trained = list(head.parameters()) if options.name != "lws" else []
    for parameter in network.parameters():
        parameter.requires_grad = False
    for parameter in trained:
        parameter.requires_grad = True
    if options.name == "crt":
        _initialise(head, parts.recipe.seed)
    scaling = LogitScaling(head) if options.name in SCALED and isinstance(head, nn.Linear) else None
    method = _method(parts)
    begin = train.epochs
    stage = Stage(
        number=2,
        epochs=range(begin, parts.recipe.num_epochs),
        network=network,
        objective=_objective(parts).to(parts.device),
        optimizer=_optimizer(options, trained, scaling, train.momentum),
        loader=run_loader(
            parts.recipe,
            parts.train_data,
            parts.built,
            method,
            parts.size,
            parts.cache,
            accept_stale=parts.accept_stale,
            sampler=ClassAware(parts.train_data.labels, options.samples_per_class),
            ranks=parts.ranks,
        ),
        learning_rate=lambda epoch: half_cosine(
            options.base_lr, (epoch - begin) / options.num_epochs
        ),
        lam=method.guidance if method is not None else lambda _epoch: 0.0,
        scaling=scaling,
        batchnorm_moves=options.shifted_bn,
    )
    return stage.over(parts.ranks, parts.size)


def half_cosine(lr: float, done: float) -> float:
    """Return the rate after a share of the epochs: from `lr` to 0 along half a cosine."""
    return lr * (1 + math.cos(math.pi * done)) / 2


def _initialise(head: nn.Linear | NormedLinear, seed: int) -> None:
    """Give the head new weights by its own class's rule; torch's generator stays as it is."""
    fresh = copy.deepcopy(head).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed ^ HEAD_PURPOSE)
        fresh.reset_parameters()
    head.load_state_dict(fresh.state_dict())


def _objective(parts: RunParts) -> Objective:
    options = parts.recipe.second_stage
    if options.name == "mislas":
        smoothing_K = smoothing_by_class(
            parts.train_data.class_counts, options.smoothing_head, options.smoothing_tail
        )
        return Objective(LabelAwareSmoothing(smoothing_K))
    return Objective(CrossEntropy(scale=parts.recipe.loss.logit_scale))


def _optimizer(
    options: SecondStageRecipe,
    trained: list[nn.Parameter],
    scaling: LogitScaling | None,
    momentum: float,
) -> SGD:
    factor = options.classifier_lr if options.name == "mislas" else 1.0
    groups: list[dict[str, Any]] = [{"params": trained, "lr_factor": factor}] if trained else []
    if scaling is not None:
        groups.append({"params": [scaling.factors_K], "lr_factor": 1.0})
    return SGD(groups, lr=options.base_lr, momentum=momentum, weight_decay=options.decay)


def _method(parts: RunParts) -> Method | None:
    """Return the method as it was in the first stage's last epoch, for all epochs of the second."""
    recipe, method = parts.recipe, parts.method
    if not recipe.second_stage.augment:
        return None
    if not isinstance(method, Scae):
        return method
    return Scae(
        replace(
            method.policy,
            num_epochs=recipe.num_epochs,
            lambda_max=method.policy.lam(recipe.train.epochs - 1),
            curriculum=False,
        )
    )
