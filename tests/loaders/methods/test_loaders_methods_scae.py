"""SCAE as a method: its ablation switches, and the controls that isolate what saliency does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy import stats

from loaders.errors import DataError, OptionError
from loaders.image_data import ArrayData
from loaders.methods.draft import Draft, Sources
from loaders.methods.random_erasing import RandomErasing
from loaders.methods.scae import Scae, ScaeOptions
from loaders.partners import permuted_within_classes
from loaders.policy import Event, ScaePolicy
from tests.loaders.erased_batches import corner_maps

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from loaders.methods.method import Setting

    MakeDraft = Callable[..., Draft]
    MakeSetting = Callable[..., Setting]

STRONG: dict[str, Any] = {"lambda_max": 300.0, "curriculum": False, "area": (0.004, 0.004)}
"""Centres then lie in the salient cell."""


def _method(setting: Setting, **options: Any) -> Scae:  # noqa: ANN401
    return ScaeOptions(p_min=1.0, p_max=1.0, **options).build(setting)


def _corners(draft: Draft) -> NDArray[np.int64]:
    """Return which corner each box lies in."""
    middle = (draft.boxes[:, :2] + draft.boxes[:, 2:]) / 2
    return 2 * (middle[:, 0] > 8) + (middle[:, 1] > 8)


def _same(first: Draft, second: Draft) -> bool:
    return torch.equal(first.images, second.images) and np.array_equal(first.boxes, second.boxes)


def test_class_awareness_on_balanced_data_equals_off_bit_for_bit(
    make_draft: MakeDraft, setting: MakeSetting
) -> None:
    maps = np.random.default_rng(0).integers(0, 256, (80, 4, 4)).astype(np.uint8)
    for epoch in range(3):
        drafts = [make_draft(80, maps=maps, epoch=epoch) for _ in range(2)]
        for draft, aware in zip(drafts, (True, False), strict=True):
            ScaeOptions(class_aware=aware).build(setting()).apply(draft)
        assert _same(*drafts)
        np.testing.assert_array_equal(drafts[0].events, drafts[1].events)
        assert 10 < drafts[0].events.sum() < 70


def test_lambda_zero_is_random_erasing_with_the_same_law(
    make_draft: MakeDraft, setting: MakeSetting
) -> None:
    """Same code path as SCAE, and the centres' law of the baseline that shares its clip."""
    maps = corner_maps(4000)
    drafts = [make_draft(4000, maps=maps, epoch=5) for _ in range(3)]
    _method(setting(), lambda_max=0.0).apply(drafts[0])
    _method(setting(), semantic=False).apply(drafts[1])
    RandomErasing(prob=1.0, law="scae").apply(drafts[2])
    assert _same(drafts[0], drafts[1])
    for column in range(4):
        boxes = [draft.boxes[:, column] for draft in drafts]
        assert stats.ks_2samp(boxes[0], boxes[2]).pvalue > 1e-4


def test_protective_mode_spares_what_guided_mode_seeks(
    make_draft: MakeDraft, setting: MakeSetting
) -> None:
    for sign, hits in ((1, 400), (-1, 0)):
        draft = make_draft(400, maps=corner_maps(400))
        _method(setting(), **{**STRONG, "lambda_max": sign * 300.0}).apply(draft)
        middle = (draft.boxes[:, :2] + draft.boxes[:, 2:]) // 2
        salient = np.array([12 * (np.arange(400) // 2 % 2), 12 * (np.arange(400) % 2)]).T
        inside = ((middle >= salient - 2) & (middle < salient + 6)).all(axis=1)
        assert abs(inside.sum() - hits) <= 40


def test_permuted_maps_are_those_of_other_images_of_the_class(
    make_draft: MakeDraft, setting: MakeSetting
) -> None:
    maps, labels = corner_maps(40), np.arange(40) // 10
    draft = make_draft(40, maps=maps, labels=labels)
    _method(setting(), maps="permuted", **STRONG).apply(draft)
    givers = permuted_within_classes(labels, draft.sources.seed)
    np.testing.assert_array_equal(_corners(draft), givers % 4)
    assert not np.array_equal(givers % 4, np.arange(40) % 4)
    own = make_draft(40, maps=maps, labels=labels)
    _method(setting(), **STRONG).apply(own)
    np.testing.assert_array_equal(_corners(own), np.arange(40) % 4)


def test_permutation_moves_every_sample_within_its_class() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 3, 4], [50, 2, 1, 30]))
    rows = permuted_within_classes(labels, 3)
    assert sorted(rows) == list(range(83))
    np.testing.assert_array_equal(labels[rows], labels)
    lone = labels == 3
    assert (rows[~lone] != np.flatnonzero(~lone)).all()
    assert rows[lone] == np.flatnonzero(lone)
    assert not np.array_equal(rows, permuted_within_classes(labels, 4))
    partners = [permuted_within_classes(np.zeros(5, np.int64), seed)[0] for seed in range(2000)]
    assert stats.chisquare(np.bincount(partners, minlength=5)[1:]).pvalue > 1e-4


def test_true_masks_guide_without_any_cache(
    make_draft: MakeDraft, setting: MakeSetting, small_shapes: ArrayData
) -> None:
    model = make_draft(40, 32)
    sources = Sources(
        data=small_shapes,
        maps=model.sources.maps,
        transform=model.sources.transform,
        partners=model.sources.partners,
        seed=0,
    )
    masks = small_shapes.masks
    assert masks is not None
    hits = []
    for lam in (0.0, 300.0):
        draft = Draft(sources, model.key, model.images.clone(), model.views)
        method = _method(
            setting(32),
            maps="mask",
            lambda_max=lam,
            curriculum=False,
            area=(0.001, 0.001),
            aspect=(1.0, 1.0),
        )
        method.apply(draft)
        y, x = draft.boxes[:, 0], draft.boxes[:, 1]
        hits.append(masks[np.arange(40), y, x].mean())
        assert not ScaeOptions(maps="mask").reads_maps
        assert not draft.unguided.any()
    assert hits[0] < 0.5
    assert hits[1] == 1.0


def test_true_masks_are_refused_where_the_data_has_none(
    make_draft: MakeDraft, setting: MakeSetting
) -> None:
    with pytest.raises(DataError, match="known, and toy has none: use shapes"):
        _method(setting(), maps="mask").check_data(make_draft().sources.data)


def test_mean_probability_is_that_of_the_samples() -> None:
    counts = (500, 40, 5)
    aware = ScaePolicy(num_epochs=1, class_counts=counts)
    flat = ScaePolicy(num_epochs=1, class_counts=counts, class_aware=False, unaware_p="mean")
    mean = sum(n * p for n, p in zip(counts, aware.erase_probability, strict=True)) / 545
    np.testing.assert_allclose(flat.erase_probability, [mean] * 3)
    assert not flat.is_tail.any()


def test_half_lambda_from_the_start_has_the_curriculums_mean() -> None:
    grown = ScaePolicy(num_epochs=200, class_counts=(1, 1))
    half = ScaePolicy(num_epochs=200, class_counts=(1, 1), curriculum=False, lambda_max=1.0)
    means = [np.mean([policy.lam(epoch) for epoch in range(200)]) for policy in (grown, half)]
    assert means[0] == pytest.approx(means[1], abs=0.006)


def test_ablations_change_only_what_they_name(make_draft: MakeDraft, setting: MakeSetting) -> None:
    maps = corner_maps(300)
    tailed = setting(class_counts=(200, 100, 40, 8))
    events, boxes = {}, {}
    for name, options in {
        "full": {},
        "no semantic": {"semantic": False},
        "no curriculum": {"curriculum": False},
        "no class": {"class_aware": False},
    }.items():
        draft = make_draft(300, maps=maps, epoch=3)
        ScaeOptions(**options).build(tailed).apply(draft)  # type: ignore[arg-type]
        events[name], boxes[name] = draft.events, draft.boxes
    for name in ("no semantic", "no curriculum"):
        np.testing.assert_array_equal(events[name], events["full"])
        assert not np.array_equal(boxes[name], boxes["full"])
    assert (events["full"] == Event.MIXUP).any()
    assert not (events["no class"] == Event.MIXUP).any()
    shared = (events["full"] == Event.ERASE) & (events["no class"] == Event.ERASE)
    np.testing.assert_array_equal(boxes["full"][shared], boxes["no class"][shared])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maps": "random"}, "maps must be one of own, permuted, mask, got 'random'"),
        ({"unaware_p": "min"}, "unaware_p must be one of p_max, mean, got 'min'"),
        ({"p_min": 0.9}, r"p_min must be in \[0, p_max = 0.5\], got 0.9"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ScaeOptions(**options)
